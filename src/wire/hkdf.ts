/** HMAC and HKDF. Source: RFC 2104, RFC 5869. */
import { sha256 } from "#bytes";
import { joinBytes, u8 } from "../lib/big-endian.ts";

/** A hash function, and the size of its blocks. */
export interface Hash {
  readonly of: (data: Uint8Array) => Uint8Array;
  readonly blockBytes: number;
}

const bySha256: Hash = { of: sha256, blockBytes: 64 };

/** The HMAC of a message under a key. */
export function hmac({ of, blockBytes }: Hash, key: Uint8Array, message: Uint8Array): Uint8Array {
  const block = new Uint8Array(blockBytes);
  block.set(key.length > blockBytes ? of(key) : key);
  const inner = of(joinBytes([block.map((byte) => byte ^ 0x36), message]));
  const outer = of(joinBytes([block.map((byte) => byte ^ 0x5c), inner]));
  block.fill(0);
  return outer;
}

/** The 32 bytes that HKDF with SHA-256 derives from a secret. */
export function hkdf(secret: Uint8Array, salt: Uint8Array, info: Uint8Array): Uint8Array {
  return hmac(bySha256, hmac(bySha256, salt, secret), joinBytes([info, u8(1)]));
}
