/**
 * XChaCha20-Poly1305 (IETF), by `@noble/ciphers`, and BLAKE2b, by `@noble/hashes`. Imported as `#aead` in a browser:
 * WebCrypto lacks them, and libsodium is WebAssembly, which a page with a strict Content-Security-Policy cannot run.
 */
import { xchacha20poly1305 } from "@noble/ciphers/chacha.js";
import { blake2b } from "@noble/hashes/blake2.js";

/** Resolves when the other functions can be used. */
export async function ready(): Promise<void> {}

/** Encrypts. Never reuse a nonce: a second text under the same nonce reveals both. */
export function encryptBytes(plaintext: Uint8Array, aad: Uint8Array, nonce: Uint8Array, key: Uint8Array): Uint8Array {
  return xchacha20poly1305(key, nonce, aad).encrypt(plaintext);
}

/** Decrypts. Errors: throws if the key, nonce, additional data or ciphertext does not match. */
export function decryptBytes(ciphertext: Uint8Array, aad: Uint8Array, nonce: Uint8Array, key: Uint8Array): Uint8Array {
  return xchacha20poly1305(key, nonce, aad).decrypt(ciphertext);
}

/** The BLAKE2b hash of at most 128 bytes, of 24 bytes. */
export function hash24(bytes: Uint8Array): Uint8Array {
  return blake2b(bytes, { dkLen: 24 });
}
