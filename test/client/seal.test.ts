/** Sealed boxes of both platforms equal those of libsodium, bit for bit. Source: docs/protocol/rooms.md. */
import { beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import sodium from "libsodium-wrappers";
import * as browser from "../../src/client/crypto/seal-browser.ts";
import * as node from "../../src/client/crypto/seal-node.ts";
import { lowOrderKexKeys } from "../attacks/small-order-keys.ts";

beforeAll(() => sodium.ready);

const ends = { "node:crypto": node, libsodium: browser };
const pairs = Object.entries(ends).flatMap(([from, sealer]) =>
  Object.entries(ends).map(([to, opener]) => ({ from, to, sealer, opener })),
);

describe.each(pairs)("sealed by $from, opened by $to", ({ sealer, opener }) => {
  test("returns what was sealed, for any keys", () => {
    for (let i = 0; i < 100; i++) {
      const { publicKey, privateKey } = sodium.crypto_box_keypair();
      const message = randomBytes(i);
      const box = sealer.sealBox(message, publicKey);
      expect(box).toHaveLength(i + sodium.crypto_box_SEALBYTES);
      expect(Buffer.from(opener.openBox(box, publicKey, privateKey))).toEqual(message);
    }
  });

  test("fails with any bit changed, any byte missing, or for another user", () => {
    const { publicKey, privateKey } = sodium.crypto_box_keypair();
    const other = sodium.crypto_box_keypair();
    const box = sealer.sealBox(randomBytes(32), publicKey);
    expect(() => opener.openBox(box, other.publicKey, other.privateKey)).toThrow();
    for (let size = 0; size < box.length; size++) {
      expect(() => opener.openBox(box.subarray(0, size), publicKey, privateKey)).toThrow();
      const changed = Buffer.from(box);
      changed[size] = (changed[size] ?? 0) ^ (1 << (size % 8));
      // X25519 ignores the top bit of a kex key, but the box is bound to the exact key bytes.
      expect(() => opener.openBox(changed, publicKey, privateKey)).toThrow();
    }
  });
});

describe.each(Object.entries(ends))("%s", (_, { sealBox, openBox }) => {
  test.each(lowOrderKexKeys)("nothing is sealed to %s, and nothing from it is opened", (hex) => {
    const low = new Uint8Array(Buffer.from(hex, "hex"));
    const { publicKey, privateKey } = sodium.crypto_box_keypair();
    expect(() => sealBox(randomBytes(32), low)).toThrow();
    expect(() => openBox(Buffer.concat([low, randomBytes(48)]), publicKey, privateKey)).toThrow();
  });

  test("two boxes of one message differ in both ephemeral key and ciphertext", () => {
    const { publicKey } = sodium.crypto_box_keypair();
    const message = randomBytes(32);
    const [one, two] = [sealBox(message, publicKey), sealBox(message, publicKey)];
    expect(one.subarray(0, 32)).not.toEqual(two.subarray(0, 32));
    expect(one.subarray(32)).not.toEqual(two.subarray(32));
  });
});
