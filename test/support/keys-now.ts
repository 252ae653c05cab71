/** Signatures and sealed keys without a promise, for code that builds what an attacker or a server would show. */
import sodium from "libsodium-wrappers";
import type { Identity } from "../../src/client/crypto/identity.ts";

await sodium.ready;

/** The signature of a text. Errors: throws if the identity's private keys are not in memory. */
export function signNow(identity: Identity, text: string): Uint8Array {
  const sig = identity.signSoon(text);
  if (sig instanceof Promise) throw new TypeError("this identity signs asynchronously");
  return sig;
}

/** A room key sealed to a kex key by libsodium, base64-std. */
export function sealNow(roomKey: Uint8Array, kexPub: Uint8Array): string {
  return Buffer.from(sodium.crypto_box_seal(roomKey, kexPub)).toString("base64");
}
