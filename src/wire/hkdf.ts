/** HKDF with SHA-256. Source: RFC 5869. */
import { hkdf as derive } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";

/** The 32 bytes that HKDF with SHA-256 derives from a secret. */
export function hkdf(secret: Uint8Array, salt: Uint8Array, info: Uint8Array): Uint8Array {
  return derive(sha256, secret, salt, info, 32);
}
