/** Ed25519 by `@noble/ed25519`, for browsers without it. It computes with big integers, and needs a hash for that. */
import { getPublicKey, hashes, Point, sign } from "@noble/ed25519";
import { sha512 } from "@noble/hashes/sha2.js";
import { toHex } from "../../wire/encoding.ts";

hashes.sha512 = sha512;

const { n: order } = Point.CURVE();

/** Reads a number whose first byte is the lowest. */
export function littleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x${toHex(bytes.toReversed())}`);
}

/** Whether the second half of a signature of 64 bytes is below the order of the group. Else it has a second form. */
export function isReduced(sig: Uint8Array): boolean {
  return littleEndian(sig.subarray(32)) < order;
}

/**
 * Whether a signature is valid under a sound key, as OpenSSL and BoringSSL decide: they compute R from the other values
 * and compare its bytes. `verify` of `@noble/ed25519` compares multiples by the cofactor instead, and so accepts
 * signatures that those refuse: some members of a room would accept a message that others drop.
 * Shape: a key of 32 bytes, a reduced signature of 64.
 */
export function verifies(key: Uint8Array, message: Uint8Array, sig: Uint8Array): boolean {
  const [r, s] = [sig.subarray(0, 32), littleEndian(sig.subarray(32))];
  const challenge = littleEndian(sha512(new Uint8Array([...r, ...key, ...message]))) % order;
  const found = Point.BASE.multiplyUnsafe(s).subtract(Point.fromBytes(key).multiplyUnsafe(challenge)).toBytes();
  return found.every((byte, i) => byte === r[i]);
}

/** The public key of a seed. Shape: 32 bytes each. */
export function publicKeyOf(seed: Uint8Array): Uint8Array {
  return getPublicKey(seed);
}

/** The signature of a message, 64 bytes. Shape: a seed of 32 bytes. */
export function signedWith(seed: Uint8Array, message: Uint8Array): Uint8Array {
  return sign(message, seed);
}
