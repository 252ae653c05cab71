import { type SharedNonces, usedNonce } from "../../contracts/nonces.ts";
import type { JetStream } from "../../nats/jetstream.ts";
import { sha256Hex } from "../../wire/encoding.ts";
import { buckets } from "../../wire/names.ts";
import { Bucket } from "./bucket.ts";

/**
 * How long a shared nonce is remembered, in milliseconds: longer than the accepted clock skew.
 * Source: docs/protocol/requests.md.
 */
export const sharedNonceLifeMs = 120_000;

/** Implements the nonce journal. Claiming a nonce is one create; the bucket expires it after its lifetime. */
export function createNonces(js: JetStream): SharedNonces {
  const nonces = new Bucket<string>(js, buckets.nonces);
  return {
    async claim(nonce, user) {
      if ((await nonces.replace(sha256Hex(nonce), user, 0)) === null) throw usedNonce();
    },
  };
}
