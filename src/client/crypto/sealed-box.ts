/**
 * libsodium's sealed boxes (crypto_box_seal), on every platform. The X25519 secret comes from the platform; the rest is
 * JavaScript: HSalsa20 for the key, BLAKE2b for the nonce, XSalsa20-Poly1305 for the content. A box is the ephemeral
 * public key and then the ciphertext. Source: https://doc.libsodium.org/public-key_cryptography/sealed_boxes
 */

import { hsalsa, xsalsa20poly1305 } from "@noble/ciphers/salsa.js";
import { hash24 } from "#aead";
import { isSoundKexKey } from "../../wire/curve.ts";
import { bytesOf } from "../../wire/encoding.ts";
import type { Agreement, Soon } from "./signer.ts";

const keyBytes = 32;

/** The bytes as little-endian 32-bit words. */
function words(bytes: Uint8Array): Uint32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Uint32Array.from({ length: bytes.length / 4 }, (_, i) => view.getUint32(4 * i, true));
}

/** "expand 32-byte k", as HSalsa20 reads it. */
const sigma = words(bytesOf("expand 32-byte k"));

/** The cipher of a box: its key is derived from the secret, its nonce from both public keys. */
function cipherOf({ ephemeralPub, secret }: Agreement, kexPub: Uint8Array) {
  const derived = new Uint32Array(keyBytes / 4);
  hsalsa(sigma, words(secret), new Uint32Array(4), derived);
  const key = new Uint8Array(keyBytes);
  const view = new DataView(key.buffer);
  for (const [i, word] of derived.entries()) view.setUint32(4 * i, word, true);
  const nonce = hash24(new Uint8Array([...ephemeralPub, ...kexPub]));
  return xsalsa20poly1305(key, nonce);
}

/**
 * Seals a message so that only the holder of a kex key can open it. `agree` makes a fresh key pair and agrees with that
 * key. Errors: throws for a kex key of low order.
 */
export async function sealBox(
  message: Uint8Array,
  kexPub: Uint8Array,
  agree: (kexPub: Uint8Array) => Promise<Agreement>,
): Promise<Uint8Array> {
  if (!isSoundKexKey(kexPub)) throw new TypeError("the kex key has low order");
  const agreement = await agree(kexPub);
  return new Uint8Array([...agreement.ephemeralPub, ...cipherOf(agreement, kexPub).encrypt(message)]);
}

/**
 * Opens a sealed box. `agree` returns the secret of this peer's private key and another public key.
 * Errors: throws if the box is for other keys, or damaged.
 */
export async function openBox(
  box: Uint8Array,
  kexPub: Uint8Array,
  agree: (ephemeralPub: Uint8Array) => Soon<Uint8Array>,
): Promise<Uint8Array> {
  const ephemeralPub = box.slice(0, keyBytes);
  if (!isSoundKexKey(ephemeralPub)) throw new TypeError("not a sealed box");
  const secret = await agree(ephemeralPub);
  return cipherOf({ ephemeralPub, secret }, kexPub).decrypt(box.slice(keyBytes));
}
