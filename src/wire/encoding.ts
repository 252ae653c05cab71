import { hex } from "@scure/base";
import { decode, encode, sha256 } from "#bytes";

const utf8 = new TextEncoder();

/** The UTF-8 bytes of a text. */
export function bytesOf(text: string): Uint8Array {
  return utf8.encode(text);
}

/** Lowercase hex. */
export const toHex: (bytes: Uint8Array) => string = hex.encode;

/** The bytes of hex in either case, or null when it is none. */
export function fromHex(text: string): Uint8Array | null {
  return text.length % 2 === 0 && /^[0-9a-fA-F]*$/.test(text) ? hex.decode(text.toLowerCase()) : null;
}

/** Standard base64 with padding. */
export function toBase64(bytes: Uint8Array): string {
  return encode(bytes, "base64");
}

/**
 * The bytes of standard base64, or null when it is not canonical.
 * Canonical: padded, no white space, zero trailing bits, so that each byte string has one text.
 */
export function fromBase64(text: string): Uint8Array | null {
  return /^[A-Za-z0-9+/]*={0,2}$/.test(text) ? decode(text, "base64") : null;
}

/** URL-safe base64 without padding. */
export function toBase64Url(bytes: Uint8Array): string {
  return encode(bytes, "base64url");
}

/** The bytes of canonical URL-safe base64 without padding, or null. */
export function fromBase64Url(text: string): Uint8Array | null {
  return /^[A-Za-z0-9_-]*$/.test(text) ? decode(text, "base64url") : null;
}

/** sha256 of bytes, or of a text's UTF-8 bytes, in lowercase hex. */
export function sha256Hex(data: Uint8Array | string): string {
  return toHex(sha256(typeof data === "string" ? bytesOf(data) : data));
}
