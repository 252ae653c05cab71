import { sha256 as sha256Of } from "@noble/hashes/sha2.js";
import { base64, base64urlnopad } from "@scure/base";

const forms = { base64, base64url: base64urlnopad } as const;

/** Computes the sha256 of some bytes, as 32 bytes. */
export function sha256(data: Uint8Array): Uint8Array {
  return sha256Of(data);
}

/** Encodes bytes as text: `base64` with padding, `base64url` without. */
export function encode(data: Uint8Array, form: keyof typeof forms): string {
  return forms[form].encode(data);
}

/** Decodes a text. Returns null if the text is not the canonical encoding of its bytes. */
export function decode(text: string, form: keyof typeof forms): Uint8Array | null {
  try {
    return forms[form].decode(text);
  } catch {
    return null;
  }
}
