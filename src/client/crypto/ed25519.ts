/** Verification of Ed25519 signatures by `@noble/curves`, for browsers without it. */
import { ed25519 } from "@noble/curves/ed25519.js";
import { sha512 } from "@noble/hashes/sha2.js";
import { toHex } from "../../wire/encoding.ts";

const { Point } = ed25519;
const littleEndian = (bytes: Uint8Array): bigint => BigInt(`0x${toHex(bytes.toReversed())}`);

/** Whether the second half of a signature of 64 bytes is below the order of the group. Else it has a second form. */
export function isReduced(sig: Uint8Array): boolean {
  return littleEndian(sig.subarray(32)) < Point.Fn.ORDER;
}

/**
 * Whether a signature is valid under a sound key, as OpenSSL and BoringSSL decide: they compute R from the other values
 * and compare its bytes. `ed25519.verify` compares multiples by the cofactor instead, and so accepts signatures that
 * those refuse: some members of a room would accept a message that others drop.
 * Shape: a key of 32 bytes, a reduced signature of 64.
 */
export function verifies(key: Uint8Array, message: Uint8Array, sig: Uint8Array): boolean {
  const [r, s] = [sig.subarray(0, 32), littleEndian(sig.subarray(32))];
  const challenge = littleEndian(sha512(new Uint8Array([...r, ...key, ...message]))) % Point.Fn.ORDER;
  const found = Point.BASE.multiplyUnsafe(s).subtract(Point.fromBytes(key).multiplyUnsafe(challenge)).toBytes();
  return found.every((byte, i) => byte === r[i]);
}
