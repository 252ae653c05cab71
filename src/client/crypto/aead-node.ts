/**
 * XChaCha20-Poly1305 (IETF), by libsodium in WebAssembly, and BLAKE2b, by `@noble/hashes`. Imported as `#aead` in Node
 * and Bun, which lack them.
 */
import { blake2b } from "@noble/hashes/blake2.js";
import sodium from "libsodium-wrappers";

/** Resolves when the other functions can be used. */
export function ready(): Promise<void> {
  return sodium.ready;
}

/** Encrypts. Never reuse a nonce: a second text under the same nonce reveals both. */
export function encryptBytes(plaintext: Uint8Array, aad: Uint8Array, nonce: Uint8Array, key: Uint8Array): Uint8Array {
  return sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, aad, null, nonce, key);
}

/** Decrypts. Errors: throws if the key, nonce, additional data or ciphertext does not match. */
export function decryptBytes(ciphertext: Uint8Array, aad: Uint8Array, nonce: Uint8Array, key: Uint8Array): Uint8Array {
  return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(null, ciphertext, aad, nonce, key);
}

/** The BLAKE2b hash of at most 128 bytes, of 24 bytes. */
export function hash24(bytes: Uint8Array): Uint8Array {
  return blake2b(bytes, { dkLen: 24 });
}
