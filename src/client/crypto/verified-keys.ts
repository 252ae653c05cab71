import { signatureHolds } from "#verify";
import { SeenSet } from "../../lib/seen-set.ts";
import { fromBase64 } from "../../wire/encoding.ts";
import { endpointId } from "../../wire/names.ts";
import { keysText } from "../../wire/sign.ts";

/** How many verified keys are cached: more than the largest room has. */
const checkedMax = 16_384;

/** A peer's keys as the server shows them. Shape: keys in lowercase hex, `kex_sig` base64-std. */
export interface PeerKeys {
  readonly endpoint: string;
  readonly sign_pub: string;
  readonly kex_pub: string;
  readonly kex_sig: string;
}

const keyShape = /^[0-9a-f]{64}$/;

/**
 * A cache of verified peer keys. Check a peer's keys here before sealing anything to them.
 * Source: docs/protocol/identity.md.
 */
export class VerifiedKeys {
  readonly #checked = new SeenSet(checkedMax);

  /** What is wrong with a peer's keys, in words that follow its endpoint, or null. Valid keys are verified once. */
  async faultOf({ endpoint, sign_pub, kex_pub, kex_sig }: PeerKeys): Promise<string | null> {
    const name = [endpoint, sign_pub, kex_pub, kex_sig].join(" ");
    if (this.#checked.has(name)) return null;
    if (!keyShape.test(sign_pub) || !keyShape.test(kex_pub)) return "has malformed keys";
    if (endpointId(sign_pub) !== endpoint) return "has a sign_pub that does not match its endpoint";
    const sig = fromBase64(kex_sig);
    const holds = sig !== null && (await signatureHolds(sign_pub, keysText(sign_pub, kex_pub), sig));
    if (!holds) return "has a kex_pub that its sign_pub did not sign";
    this.#checked.add(name);
    return null;
  }
}
