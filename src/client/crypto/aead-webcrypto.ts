/**
 * XChaCha20-Poly1305 (IETF) by WebCrypto, where it has ChaCha20-Poly1305, as in Bun: native, on another thread, and
 * several times as fast as WebAssembly. By its definition, HChaCha20 makes a key from the key and the first 16 bytes
 * of the nonce, and the rest of the nonce is that of ChaCha20-Poly1305. Used for blobs; frames are too small to gain
 * by it. Source: draft-irtf-cfrg-xchacha-03.
 */
import { hchacha } from "@noble/ciphers/chacha.js";
import { bytesOf } from "../../wire/encoding.ts";

const name = "ChaCha20-Poly1305";
const words = (bytes: Uint8Array): Uint32Array => new Uint32Array(bytes.slice().buffer);
const sigma = words(bytesOf("expand 32-byte k"));
let isMissing = false;

/**
 * Encrypts or decrypts. Undefined if the platform cannot do it; null for a ciphertext that cannot be decrypted.
 * Never encrypt twice with the same nonce: it reveals both texts.
 */
export async function webCryptoAead(
  work: "encrypt" | "decrypt",
  data: Uint8Array,
  aad: Uint8Array,
  nonce: Uint8Array,
  key: Uint8Array,
): Promise<Uint8Array | null | undefined> {
  if (isMissing) return undefined;
  const derived = new Uint32Array(8);
  hchacha(sigma, words(key), words(nonce.subarray(0, 16)), derived);
  let native: CryptoKey;
  try {
    // The format and the algorithm are newer than TypeScript's types.
    native = await crypto.subtle.importKey("raw-secret" as "raw", derived.buffer, name, false, [work]);
  } catch {
    isMissing = true;
    return undefined;
  } finally {
    derived.fill(0);
  }
  const iv = new Uint8Array(12);
  iv.set(nonce.subarray(16), 4);
  const algorithm = { name, iv, additionalData: aad as BufferSource, tagLength: 128 };
  try {
    return new Uint8Array(await crypto.subtle[work](algorithm, native, data as BufferSource));
  } catch (error) {
    if (work === "decrypt") return null;
    throw error;
  }
}
