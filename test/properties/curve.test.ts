/**
 * The checks of public keys in `src/wire/curve.ts`, and the X25519 of browsers without their own, with `@noble/curves`
 * as the oracle, for arbitrary keys, valid keys, and keys at the edges of the field. Source: docs/protocol/identity.md.
 */
import { describe, expect, test } from "bun:test";
import { ed25519, x25519 } from "@noble/curves/ed25519.js";
import fc from "fast-check";
import { publicKexOf, sharedSecret } from "../../src/client/crypto/x25519.ts";
import { isSoundKexKey, isSoundSignKey } from "../../src/wire/curve.ts";
import { looseSignKeys, lowOrderKexKeys, prime, smallOrderSignKeys } from "../attacks/small-order-keys.ts";

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, "hex"));
const encoded = (value: bigint): Uint8Array => bytesOf(value.toString(16).padStart(64, "0")).toReversed();

const anyKey = fc.uint8Array({ minLength: 32, maxLength: 32 });
/** Numbers close to 0, to the prime and to the end of what 32 bytes can encode. */
const edge = fc
  .tuple(fc.constantFrom(0n, prime, 2n ** 255n, 2n ** 255n + prime, 2n ** 256n - 1n), fc.bigInt(-64n, 64n))
  .map(([base, offset]) => base + offset)
  .filter((value) => value >= 0n && value < 2n ** 256n)
  .map(encoded);
const validSignKey = anyKey.map((seed) => ed25519.getPublicKey(seed));
const validKexKey = anyKey.map((seed) => x25519.getPublicKey(seed));

/** Whether RFC 8032 decodes a key, strictly, to a point that is not of small order. */
function isSoundPoint(key: Uint8Array): boolean {
  try {
    return !ed25519.Point.fromBytes(key, false).isSmallOrder();
  } catch {
    return false;
  }
}

/** Whether a key yields a shared secret that is not zero. */
function yieldsSecret(key: Uint8Array): boolean {
  try {
    x25519.getSharedSecret(new Uint8Array(32).fill(7), key);
    return true;
  } catch {
    return false;
  }
}

describe("a signing key", () => {
  test("is sound exactly when it decodes to a point that is not of small order", () => {
    let sound = 0;
    const check = (key: Uint8Array): void => {
      const expected = isSoundPoint(key);
      if (expected) sound += 1;
      expect(isSoundSignKey(key)).toBe(expected);
    };
    fc.assert(fc.property(anyKey, check), { numRuns: 1_000 });
    // About half of all numbers are the y coordinate of a point.
    expect(sound).toBeGreaterThan(300);
    expect(sound).toBeLessThan(700);
    fc.assert(fc.property(edge, check), { numRuns: 500 });
  });

  test("of a key pair is sound", () => {
    fc.assert(
      fc.property(validSignKey, (key) => expect(isSoundSignKey(key)).toBe(true)),
      { numRuns: 200 },
    );
  });

  test("of small order or not canonical is not, by either", () => {
    for (const key of [...smallOrderSignKeys, ...looseSignKeys].map(bytesOf)) {
      expect([isSoundSignKey(key), isSoundPoint(key)]).toEqual([false, false]);
    }
  });
});

type Agree = (priv: Uint8Array, pub: Uint8Array) => Uint8Array;

/** The secret of two keys, or null if it is refused. */
function secretBy(agree: Agree, priv: Uint8Array, pub: Uint8Array): Uint8Array | null {
  try {
    return agree(priv, pub);
  } catch {
    return null;
  }
}

describe("a kex key", () => {
  test("has the same secret with each private key as by @noble/curves, and its pair the same public key", () => {
    for (const keys of [anyKey, edge, validKexKey]) {
      fc.assert(
        fc.property(anyKey, keys, (priv, pub) => {
          expect(publicKexOf(priv)).toEqual(x25519.getPublicKey(priv));
          expect(secretBy(sharedSecret, priv, pub)).toEqual(secretBy(x25519.getSharedSecret, priv, pub));
        }),
        { numRuns: 100 },
      );
    }
    for (const low of lowOrderKexKeys.map(bytesOf)) expect(secretBy(sharedSecret, new Uint8Array(32), low)).toBeNull();
    for (const size of [0, 31, 33]) expect(secretBy(sharedSecret, new Uint8Array(32), new Uint8Array(size))).toBeNull();
  });

  test("is sound exactly when it yields a shared secret", () => {
    for (const keys of [anyKey, edge, validKexKey]) {
      fc.assert(
        fc.property(keys, (key) => expect(isSoundKexKey(key)).toBe(yieldsSecret(key))),
        { numRuns: 200 },
      );
    }
  });

  test("of low order is not, by either", () => {
    for (const key of lowOrderKexKeys.map(bytesOf)) {
      expect([isSoundKexKey(key), yieldsSecret(key)]).toEqual([false, false]);
    }
  });
});
