/**
 * Compares this client's checks of signatures and keys with libsodium's: an input that one library accepts and the
 * other refuses splits the network. Covers random, tampered, non-canonical and small-order signing keys, kex keys and
 * signatures, as property tests. Source: docs/protocol/signatures.md.
 */
import { beforeAll, describe, expect, test } from "bun:test";
import { randomBytes, randomInt } from "node:crypto";
import sodium from "libsodium-wrappers";
import { checkKexKey, checkSignKey, verifySignature } from "../../src/contracts/signature.ts";
import { keysText } from "../../src/wire/sign.ts";
import { decodes, looseSignKeys, lowOrderKexKeys, smallOrderSignKeys } from "./small-order-keys.ts";

const signatures = 500;
const keys = 300;

beforeAll(() => sodium.ready);

const isTaken = (key: string): boolean => {
  try {
    return checkSignKey(key) === key.toLowerCase();
  } catch {
    return false;
  }
};
/** libsodium converts a key to X25519 only if it is canonical, in the main subgroup and not of small order. */
const isTakenBySodium = (key: string): boolean => {
  try {
    return sodium.crypto_sign_ed25519_pk_to_curve25519(Buffer.from(key, "hex")).length === 32;
  } catch {
    return false;
  }
};
const isVerifiedBySodium = (key: string, text: string, sig: Uint8Array): boolean => {
  try {
    return sodium.crypto_sign_verify_detached(sig, text, Buffer.from(key, "hex"));
  } catch {
    return false;
  }
};

describe("a signing key", () => {
  test("of random bytes is accepted if it is the encoding of a point, as RFC 8032 decodes", () => {
    let taken = 0;
    for (let i = 0; i < keys; i++) {
      const key = randomBytes(32).toString("hex");
      expect([key, isTaken(key)]).toEqual([key, decodes(key)]);
      if (isTakenBySodium(key)) expect([key, isTaken(key)]).toEqual([key, true]);
      if (isTaken(key)) taken += 1;
    }
    // About half of all numbers are the y coordinate of a point.
    expect(taken).toBeGreaterThan(keys / 4);
    expect(taken).toBeLessThan((3 * keys) / 4);
  });

  test("of a key pair is accepted by both", () => {
    for (let i = 0; i < keys; i++) {
      const key = sodium.crypto_sign_keypair("hex").publicKey;
      expect([key, isTaken(key), isTakenBySodium(key)]).toEqual([key, true, true]);
    }
  });

  test("of small order, or not canonical, is accepted by neither", () => {
    for (const key of [...smallOrderSignKeys, ...looseSignKeys]) {
      expect([key, isTaken(key), isTakenBySodium(key)]).toEqual([key, false, false]);
    }
  });

  test("of the wrong size or alphabet is a programming error, never a key", () => {
    for (const key of ["", "00", "z".repeat(64), "0".repeat(63), "0".repeat(66)]) expect(isTaken(key)).toBe(false);
  });
});

describe("a kex key", () => {
  test("is accepted if a shared secret with it is not all zeros, as libsodium decides", async () => {
    const pair = sodium.crypto_sign_keypair();
    const signPub = sodium.to_hex(pair.publicKey);
    const secret = sodium.randombytes_buf(32);
    const random = Array.from({ length: 50 }, () => randomBytes(32).toString("hex"));
    for (const key of [...lowOrderKexKeys, ...random]) {
      const kexSig = sodium.to_base64(
        sodium.crypto_sign_detached(keysText(signPub, key), pair.privateKey),
        sodium.base64_variants.ORIGINAL,
      );
      const ours = await checkKexKey(signPub, key, kexSig).then(
        () => true,
        () => false,
      );
      let theirs = true;
      try {
        sodium.crypto_scalarmult(secret, Buffer.from(key, "hex"));
      } catch {
        theirs = false;
      }
      expect([key, ours]).toEqual([key, theirs]);
      expect([key, ours]).toEqual([key, !lowOrderKexKeys.includes(key)]);
    }
  });
});

const flipped = (bytes: Uint8Array): Uint8Array => {
  const copy = Uint8Array.from(bytes);
  const at = randomInt(copy.length);
  copy[at] = (copy[at] ?? 0) ^ (1 << randomInt(8));
  return copy;
};

/** The order of the main subgroup: without a bound on S, both S and S + L would be valid signatures. */
const order = 2n ** 252n + 27742317777372353535851937790883648493n;
const withOrderAdded = (sig: Uint8Array): Uint8Array => {
  const s = BigInt(`0x${Buffer.from(sig.slice(32)).reverse().toString("hex")}`) + order;
  const bytes = Buffer.from(s.toString(16).padStart(64, "0"), "hex").reverse();
  return Buffer.concat([sig.slice(0, 32), bytes]);
};

describe("a signature", () => {
  test(`of ${signatures} random ones, valid or tampered with, is judged alike`, async () => {
    const good: boolean[] = [];
    for (let i = 0; i < signatures; i++) {
      const pair = sodium.crypto_sign_keypair();
      let key = sodium.to_hex(pair.publicKey);
      let text = randomBytes(randomInt(200)).toString("base64");
      let sig = sodium.crypto_sign_detached(text, pair.privateKey);
      if (i % 5 === 1) sig = flipped(sig);
      if (i % 5 === 2) text += "x";
      if (i % 5 === 3) key = sodium.to_hex(flipped(pair.publicKey));
      if (i % 5 === 4) sig = withOrderAdded(sig);
      const ours = await verifySignature(key, text, sig);
      expect([i, ours]).toEqual([i, isVerifiedBySodium(key, text, sig)]);
      expect([i, ours]).toEqual([i, i % 5 === 0]);
      good.push(ours);
    }
    expect(good.filter(Boolean)).toHaveLength(signatures / 5);
  });

  test("of another size is invalid", async () => {
    const pair = sodium.crypto_sign_keypair();
    const sig = sodium.crypto_sign_detached("text", pair.privateKey);
    const key = sodium.to_hex(pair.publicKey);
    for (const size of [0, 1, 32, 63, 65, 128]) {
      const resized = Buffer.alloc(size);
      resized.set(sig.slice(0, size));
      expect(await verifySignature(key, "text", resized)).toBe(false);
    }
    expect(await verifySignature(key, "text", sig)).toBe(true);
  });

  test("under a key of small order may verify, which is why no such key is accepted", async () => {
    // R = the neutral point, S = 0: verifies for any text under the neutral point as the key.
    const forged = Buffer.alloc(64);
    forged[0] = 1;
    const neutral = `01${"00".repeat(31)}`;
    expect(await verifySignature(neutral, "any text", forged)).toBe(true);
    expect(isVerifiedBySodium(neutral, "any text", forged)).toBe(false);
    expect(isTaken(neutral)).toBe(false);
  });
});
