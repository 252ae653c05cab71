/** X25519 by the Montgomery ladder of `@noble/curves`, for browsers without it. It computes with big integers. */
import { pow } from "@noble/curves/abstract/modular.js";
import { montgomery } from "@noble/curves/abstract/montgomery.js";

const prime = 2n ** 255n - 19n;

/** Fixes the bits of a private key that are not secret. Source: RFC 7748, section 5. */
function clamped(bytes: Uint8Array): Uint8Array {
  bytes[0] = (bytes[0] ?? 0) & 0xf8;
  bytes[31] = ((bytes[31] ?? 0) & 0x7f) | 0x40;
  return bytes;
}

/** Key pairs and shared secrets of X25519. Errors: fails for a public key of low order, whose secret everyone knows. */
export const x25519 = montgomery({
  P: prime,
  type: "x25519",
  adjustScalarBytes: clamped,
  powPminus2: (number) => pow(number, prime - 2n, prime),
});
