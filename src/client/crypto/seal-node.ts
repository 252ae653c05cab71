import { createPrivateKey, createPublicKey, diffieHellman, generateKeyPairSync, type KeyObject } from "node:crypto";
import { hsalsa } from "@noble/ciphers/salsa.js";
import sodium from "libsodium-wrappers";
import { isSoundKexKey } from "../../wire/curve.ts";

/**
 * libsodium's sealed boxes (crypto_box_seal), with the curve arithmetic done by OpenSSL. libsodium runs as WebAssembly
 * here, and takes four times as long. Source: https://doc.libsodium.org/public-key_cryptography/sealed_boxes
 */

const keyBytes = 32;
const nonceBytes = 24;

/** The bytes that precede a raw key in DER. Source: RFC 8410. */
const derPrefix = {
  public: Buffer.from("302a300506032b656e032100", "hex"),
  private: Buffer.from("302e020100300506032b656e04220420", "hex"),
} as const;

const publicKey = (raw: Uint8Array): KeyObject =>
  createPublicKey({ key: Buffer.concat([derPrefix.public, raw]), format: "der", type: "spki" });

const privateKey = (raw: Uint8Array): KeyObject =>
  createPrivateKey({ key: Buffer.concat([derPrefix.private, raw]), format: "der", type: "pkcs8" });

const rawOf = (key: KeyObject): Uint8Array =>
  key.export({ format: "der", type: "spki" }).subarray(derPrefix.public.length);

/** "expand 32-byte k" as little-endian words, as HSalsa20 reads it. */
const sigma = words(new TextEncoder().encode("expand 32-byte k"));

/** The bytes as little-endian 32-bit words. */
function words(bytes: Uint8Array): Uint32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Uint32Array.from({ length: bytes.length / 4 }, (_, i) => view.getUint32(4 * i, true));
}

/** The shared key of two key pairs (crypto_box_beforenm). Errors: the platform's own for a key of low order. */
function sharedKey(own: KeyObject, theirs: KeyObject): Uint8Array {
  const secret = diffieHellman({ privateKey: own, publicKey: theirs });
  const key = new Uint32Array(keyBytes / 4);
  hsalsa(sigma, words(secret), new Uint32Array(4), key);
  const bytes = new Uint8Array(keyBytes);
  const view = new DataView(bytes.buffer);
  for (const [i, word] of key.entries()) view.setUint32(4 * i, word, true);
  return bytes;
}

const nonceOf = (ephemeral: Uint8Array, kexPub: Uint8Array): Uint8Array =>
  sodium.crypto_generichash(nonceBytes, Buffer.concat([ephemeral, kexPub]), null);

/** Seals a message so that only the holder of a kex key can open it. Errors: throws for a kex key of low order. */
export function sealBox(message: Uint8Array, kexPub: Uint8Array): Uint8Array {
  if (!isSoundKexKey(kexPub)) throw new TypeError("the kex key has low order");
  const own = generateKeyPairSync("x25519");
  const ephemeral = rawOf(own.publicKey);
  const key = sharedKey(own.privateKey, publicKey(kexPub));
  return Buffer.concat([ephemeral, sodium.crypto_secretbox_easy(message, nonceOf(ephemeral, kexPub), key)]);
}

/** Opens a sealed box. Errors: throws if the box is for other keys, or damaged. */
export function openBox(box: Uint8Array, kexPub: Uint8Array, kexPriv: Uint8Array): Uint8Array {
  const ephemeral = box.subarray(0, keyBytes);
  if (!isSoundKexKey(ephemeral)) throw new TypeError("not a sealed box");
  const key = sharedKey(privateKey(kexPriv), publicKey(ephemeral));
  return sodium.crypto_secretbox_open_easy(box.subarray(keyBytes), nonceOf(ephemeral, kexPub), key);
}
