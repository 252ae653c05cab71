/**
 * Signers, sealed boxes and encryption of each platform, with and without WebCrypto, equal those of libsodium, bit for
 * bit. Source: docs/protocol/rooms.md.
 */
import { beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import sodium from "libsodium-wrappers";
import * as aeadBrowser from "../../src/client/crypto/aead-browser.ts";
import * as aeadNode from "../../src/client/crypto/aead-node.ts";
import { webCryptoAead } from "../../src/client/crypto/aead-webcrypto.ts";
import { generatedKey, nativeSigner } from "../../src/client/crypto/native-keys.ts";
import { openBox, sealBox } from "../../src/client/crypto/sealed-box.ts";
import type { Agreement, Signer } from "../../src/client/crypto/signer.ts";
import * as browser from "../../src/client/crypto/signer-browser.ts";
import * as node from "../../src/client/crypto/signer-node.ts";
import { lowOrderKexKeys } from "../attacks/small-order-keys.ts";

beforeAll(() => sodium.ready);

/** Runs work as in a browser whose WebCrypto lacks both kinds of key. */
async function withoutWebCrypto<T>(work: () => Promise<T>): Promise<T> {
  const { importKey, generateKey } = crypto.subtle;
  const unknown = () => Promise.reject(new Error("unknown to this browser"));
  Object.assign(crypto.subtle, { importKey: unknown, generateKey: unknown });
  try {
    return await work();
  } finally {
    Object.assign(crypto.subtle, { importKey, generateKey });
  }
}

interface End {
  readonly signerOf: (signSeed: Uint8Array, kexPriv: Uint8Array) => Promise<Signer>;
  readonly agree: (kexPub: Uint8Array) => Promise<Agreement>;
}

const ends: Readonly<Record<string, End>> = {
  "node:crypto": { signerOf: node.signerOf, agree: node.freshAgreement },
  WebCrypto: { signerOf: browser.signerOf, agree: browser.freshAgreement },
  "@noble": {
    signerOf: (...seeds) => withoutWebCrypto(() => browser.signerOf(...seeds)),
    agree: (kexPub) => withoutWebCrypto(() => browser.freshAgreement(kexPub)),
  },
};

describe.each(Object.entries(ends))("%s", (_, { signerOf, agree }) => {
  test("derives libsodium's keys from a seed, and signs as it does", async () => {
    for (let i = 0; i < 20; i++) {
      const [seed, kexPriv, message] = [randomBytes(32), randomBytes(32), randomBytes(i)];
      const signer = await signerOf(seed, kexPriv);
      const { publicKey, privateKey } = sodium.crypto_sign_seed_keypair(seed);
      expect(Buffer.from(signer.signPub)).toEqual(Buffer.from(publicKey));
      expect(Buffer.from(signer.kexPub)).toEqual(Buffer.from(sodium.crypto_scalarmult_base(kexPriv)));
      const sig = await signer.sign(message);
      expect(Buffer.from(sig)).toEqual(Buffer.from(sodium.crypto_sign_detached(message, privateKey)));
    }
  });

  test("seals boxes that libsodium opens, and opens those that it seals, for any keys", async () => {
    for (let i = 0; i < 20; i++) {
      const [kexPriv, message] = [randomBytes(32), randomBytes(i)];
      const signer = await signerOf(randomBytes(32), kexPriv);
      const { kexPub } = signer;
      const box = await sealBox(message, kexPub, agree);
      expect(box).toHaveLength(i + sodium.crypto_box_SEALBYTES);
      expect(Buffer.from(sodium.crypto_box_seal_open(box, kexPub, kexPriv))).toEqual(message);
      const theirs = sodium.crypto_box_seal(message, kexPub);
      expect(Buffer.from(await openBox(theirs, kexPub, signer.agree))).toEqual(message);
    }
  });

  test("opens no box with a bit changed, a byte missing, or for another user", async () => {
    const [signer, other] = [
      await signerOf(randomBytes(32), randomBytes(32)),
      await signerOf(randomBytes(32), randomBytes(32)),
    ];
    const { kexPub } = signer;
    const box = await sealBox(randomBytes(32), kexPub, agree);
    await expect(openBox(box, other.kexPub, other.agree)).rejects.toThrow();
    for (let size = 0; size < box.length; size++) {
      await expect(openBox(box.subarray(0, size), kexPub, signer.agree)).rejects.toThrow();
      const changed = Buffer.from(box);
      changed[size] = (changed[size] ?? 0) ^ (1 << (size % 8));
      // X25519 ignores the top bit of a kex key, but the box is bound to the exact key bytes.
      await expect(openBox(changed, kexPub, signer.agree)).rejects.toThrow();
    }
  });

  test("seals nothing to a key of low order, and opens nothing from one", async () => {
    const { kexPub, agree: agreeWith } = await signerOf(randomBytes(32), randomBytes(32));
    for (const hex of lowOrderKexKeys) {
      const low = new Uint8Array(Buffer.from(hex, "hex"));
      await expect(sealBox(randomBytes(32), low, agree)).rejects.toThrow();
      await expect(openBox(Buffer.concat([low, randomBytes(48)]), kexPub, agreeWith)).rejects.toThrow();
      // The platform itself refuses, too: a sealed box is not the only use of a signer.
      await expect((async () => agreeWith(low))()).rejects.toThrow();
    }
  });

  test("makes two boxes of one message that differ in both ephemeral key and ciphertext", async () => {
    const { kexPub } = await signerOf(randomBytes(32), randomBytes(32));
    const message = randomBytes(32);
    const [one, two] = [await sealBox(message, kexPub, agree), await sealBox(message, kexPub, agree)];
    expect(one.subarray(0, 32)).not.toEqual(two.subarray(0, 32));
    expect(one.subarray(32)).not.toEqual(two.subarray(32));
  });
});

test("a key that WebCrypto generated is not revealed, signs, and agrees as libsodium does", async () => {
  const [signing, kex] = [await generatedKey("Ed25519"), await generatedKey("X25519")];
  if (signing === null || kex === null) throw new Error("this runtime has no such keys");
  for (const { key } of [signing, kex]) {
    expect(key.extractable).toBe(false);
    for (const form of ["jwk", "pkcs8"] as const) await expect(crypto.subtle.exportKey(form, key)).rejects.toThrow();
  }
  const signer = nativeSigner(signing, kex);
  const message = randomBytes(100);
  expect(sodium.crypto_sign_verify_detached(await signer.sign(message), message, signer.signPub)).toBe(true);
  const box = sodium.crypto_box_seal(message, signer.kexPub);
  expect(Buffer.from(await openBox(box, signer.kexPub, signer.agree))).toEqual(message);
});

test("BLAKE2b gives libsodium's bytes on each platform, of any length up to a block", () => {
  for (let length = 0; length <= 128; length++) {
    const bytes = randomBytes(length);
    const expected = Buffer.from(sodium.crypto_generichash(24, bytes, null));
    for (const { hash24 } of [aeadNode, aeadBrowser]) expect(Buffer.from(hash24(bytes))).toEqual(expected);
  }
});

describe("XChaCha20-Poly1305", () => {
  const pairs = [
    [aeadNode, aeadBrowser],
    [aeadBrowser, aeadNode],
  ] as const;

  test("gives the same bytes on each platform, of any length, and each opens the other's", () => {
    for (const length of [0, 1, 63, 64, 65, 1_000, 100_000]) {
      const [key, nonce, aad, text] = [randomBytes(32), randomBytes(24), randomBytes(length % 70), randomBytes(length)];
      for (const [one, other] of pairs) {
        const sealed = one.encryptBytes(text, aad, nonce, key);
        expect(Buffer.from(sealed)).toEqual(Buffer.from(other.encryptBytes(text, aad, nonce, key)));
        expect(Buffer.from(other.decryptBytes(sealed, aad, nonce, key))).toEqual(text);
      }
    }
  });

  test("by WebCrypto gives the same bytes, of any length, and opens nothing that was changed", async () => {
    for (const length of [0, 1, 63, 64, 65, 1_000, 100_000]) {
      const [key, nonce, aad, text] = [randomBytes(32), randomBytes(24), randomBytes(length % 70), randomBytes(length)];
      const wanted = Buffer.from(aeadNode.encryptBytes(text, aad, nonce, key));
      const sealed = await webCryptoAead("encrypt", text, aad, nonce, key);
      // Bun has it. Where it is missing, libsodium or @noble/ciphers does the work.
      expect(Buffer.from(sealed ?? [])).toEqual(wanted);
      expect(Buffer.from((await webCryptoAead("decrypt", wanted, aad, nonce, key)) ?? [])).toEqual(text);
      const flip = (bytes: Buffer) => Buffer.from(bytes.map((byte, i) => (i === bytes.length >> 1 ? byte ^ 1 : byte)));
      const changes: readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array][] = [
        [flip(wanted), aad, nonce, key],
        [wanted, Buffer.concat([aad, randomBytes(1)]), nonce, key],
        [wanted, aad, flip(nonce), key],
        [wanted, aad, nonce, flip(key)],
        [wanted.subarray(0, -1), aad, nonce, key],
        [new Uint8Array(), aad, nonce, key],
      ];
      for (const changed of changes) {
        expect(await webCryptoAead("decrypt", ...changed)).toBeNull();
      }
    }
  });

  test.each(pairs)("opens nothing that was changed, or under another key, nonce or additional data", (end) => {
    const [key, nonce, aad, text] = [randomBytes(32), randomBytes(24), randomBytes(20), randomBytes(40)];
    const sealed = end.encryptBytes(text, aad, nonce, key);
    const flip = (bytes: Uint8Array) => bytes.map((byte, i) => (i === 3 ? byte ^ 1 : byte));
    for (const [index] of sealed.entries()) {
      const changed = sealed.map((byte, i) => (i === index ? byte ^ 0x80 : byte));
      expect(() => end.decryptBytes(changed, aad, nonce, key)).toThrow();
      expect(() => end.decryptBytes(sealed.subarray(0, index), aad, nonce, key)).toThrow();
    }
    expect(() => end.decryptBytes(sealed, flip(aad), nonce, key)).toThrow();
    expect(() => end.decryptBytes(sealed, aad, flip(nonce), key)).toThrow();
    expect(() => end.decryptBytes(sealed, aad, nonce, flip(key))).toThrow();
    for (const size of [0, 31, 33]) expect(() => end.encryptBytes(text, aad, nonce, new Uint8Array(size))).toThrow();
    for (const size of [0, 12, 23, 25]) expect(() => end.encryptBytes(text, aad, new Uint8Array(size), key)).toThrow();
  });
});
