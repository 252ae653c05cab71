/** Verification of signatures in Node and Bun. Imported as `#verify` there. */
import { createPublicKey, verify } from "node:crypto";
import { bytesOf, toBase64Url } from "../../wire/encoding.ts";
import { SoundKeys } from "./sound-keys.ts";

const keys = new SoundKeys((signPub) =>
  createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: toBase64Url(signPub) }, format: "jwk" }),
);

/**
 * Whether a signature over a text is valid under an Ed25519 public key in hex. Verified on a thread of the pool. False
 * for a malformed signature and for an unsound key.
 */
export function signatureHolds(signPub: string, text: string, sig: Uint8Array): Promise<boolean> {
  const key = keys.of(signPub);
  if (key === null || sig.length !== 64) return Promise.resolve(false);
  return new Promise((resolve) => {
    verify(null, bytesOf(text), key, sig, (error, holds) => resolve(error === null && holds));
  });
}
