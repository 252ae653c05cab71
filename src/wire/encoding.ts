import { decode, encode, sha256 } from "#bytes";

const utf8 = new TextEncoder();

/** Encodes a text as UTF-8. */
export function bytesOf(text: string): Uint8Array {
  return utf8.encode(text);
}

const hexDigits: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Encodes bytes as lowercase hex. */
export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += hexDigits[byte];
  return text;
}

/** Decodes hex in either case. Returns null if the text is not hex. */
export function fromHex(text: string): Uint8Array | null {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) return null;
  // In ASCII, letters are 9 less than their value in the lower four bits, and have bit 6 set.
  const digit = (at: number) => (text.charCodeAt(at) & 15) + 9 * (text.charCodeAt(at) >> 6);
  const bytes = new Uint8Array(text.length / 2);
  for (let at = 0; at < bytes.length; at++) bytes[at] = 16 * digit(2 * at) + digit(2 * at + 1);
  return bytes;
}

/** Encodes bytes as standard base64 with padding. */
export function toBase64(bytes: Uint8Array): string {
  return encode(bytes, "base64");
}

/**
 * Decodes standard base64. Returns null if it is not canonical.
 * Canonical means padded, without white space and with zero trailing bits, so each byte string has exactly one
 * encoding.
 */
export function fromBase64(text: string): Uint8Array | null {
  return /^[A-Za-z0-9+/]*={0,2}$/.test(text) ? decode(text, "base64") : null;
}

/** Encodes bytes as URL-safe base64 without padding. */
export function toBase64Url(bytes: Uint8Array): string {
  return encode(bytes, "base64url");
}

/** Decodes canonical URL-safe base64 without padding. Returns null for anything else. */
export function fromBase64Url(text: string): Uint8Array | null {
  return /^[A-Za-z0-9_-]*$/.test(text) ? decode(text, "base64url") : null;
}

/** Computes the sha256 of bytes, or of a text's UTF-8 bytes, in lowercase hex. */
export function sha256Hex(data: Uint8Array | string): string {
  return toHex(sha256(typeof data === "string" ? bytesOf(data) : data));
}
