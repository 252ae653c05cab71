import { toHex } from "./encoding.ts";

/**
 * Rejects weak public keys: under a key of small order, any signature verifies, or everyone knows the shared secret.
 * Source: docs/protocol/identity.md.
 */

const p25519 = 2n ** 255n - 19n;
const withoutTopBit = 2n ** 255n - 1n;
const littleEndian = (bytes: Uint8Array): bigint => BigInt(`0x${toHex(bytes.toReversed())}`) & withoutTopBit;

/** The y coordinate of every point whose order divides 8. Source: RFC 8032, curve edwards25519. */
const smallOrderY = new Set([
  0n,
  1n,
  p25519 - 1n,
  0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n,
  0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n,
]);

/** The u coordinate of every point of curve25519 and its twist whose order divides 8. Source: RFC 7748. */
const lowOrderU = new Set([
  0n,
  1n,
  p25519 - 1n,
  0x00b8495f16056286fdb1329ceb8d09da6ac49ff1fae35616aeb8413b7c7aebe0n,
  0x57119fd0dd4e22d8868e1c58c45c44045bef839c55b1d0b1248c50a3bc959c5fn,
]);

const curveD = 37095705934669439343138083508754565189542113879843219016388785533085940283555n;

/** The Jacobi symbol of `a` over p: 1 for a square, -1 for a non-square, 0 for 0. */
function symbol(a: bigint): number {
  let [top, bottom, sign] = [a % p25519, p25519, 1];
  while (top !== 0n) {
    for (; (top & 1n) === 0n; top >>= 1n) {
      const eighth = bottom & 7n;
      if (eighth === 3n || eighth === 5n) sign = -sign;
    }
    [top, bottom] = [bottom, top];
    if ((top & 3n) === 3n && (bottom & 3n) === 3n) sign = -sign;
    top %= bottom;
  }
  return bottom === 1n ? sign : 0;
}

/**
 * Reports whether a point of edwards25519 has this y: (y^2 - 1) / (d y^2 + 1), and so the product of both, is a square.
 */
function isOnCurve(y: bigint): boolean {
  const yy = (y * y) % p25519;
  return symbol((yy - 1n + p25519) * (curveD * yy + 1n)) !== -1;
}

/**
 * Reports whether an Ed25519 public key is safe to verify with: canonical, on the curve, and not of small order.
 * node:crypto and OpenSSL accept forged signatures under a key of small order, so check this before you verify.
 * Source: docs/protocol/identity.md.
 */
export function isSoundSignKey(signPub: Uint8Array): boolean {
  if (signPub.length !== 32) return false;
  const y = littleEndian(signPub);
  return y < p25519 && !smallOrderY.has(y) && isOnCurve(y);
}

/**
 * Reports whether an X25519 public key yields a secret shared secret: it must not be of low order.
 * Source: docs/protocol/identity.md.
 */
export function isSoundKexKey(kexPub: Uint8Array): boolean {
  return kexPub.length === 32 && !lowOrderU.has(littleEndian(kexPub) % p25519);
}
