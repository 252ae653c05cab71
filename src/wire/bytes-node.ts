import { createHash } from "node:crypto";

/** The sha256 of some bytes, 32 bytes. */
export function sha256(data: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(data).digest());
}

/** The text of some bytes: `base64` with padding, `base64url` without. */
export function encode(data: Uint8Array, form: "base64" | "base64url"): string {
  return Buffer.from(data).toString(form);
}

/** The bytes of a text, or null when they have another one in that form. */
export function decode(text: string, form: "base64" | "base64url"): Uint8Array | null {
  const bytes = Buffer.from(text, form);
  return bytes.toString(form) === text ? new Uint8Array(bytes) : null;
}
