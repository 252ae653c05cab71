import { createHash } from "node:crypto";

/** Computes the sha256 of some bytes, as 32 bytes. */
export function sha256(data: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(data).digest());
}

/** Encodes bytes as text: `base64` with padding, `base64url` without. */
export function encode(data: Uint8Array, form: "base64" | "base64url"): string {
  return Buffer.from(data).toString(form);
}

/** Decodes a text. Returns null if the text is not the canonical encoding of its bytes. */
export function decode(text: string, form: "base64" | "base64url"): Uint8Array | null {
  const bytes = Buffer.from(text, form);
  return bytes.toString(form) === text ? new Uint8Array(bytes) : null;
}
