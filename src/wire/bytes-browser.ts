import { sha256 as sha256Of } from "@noble/hashes/sha2.js";

/** How many bytes become arguments of one call. Browsers accept at least 65,535. */
const partBytes = 8_192;

/** What browsers since 2025 have, and others lack. */
interface Native {
  toBase64?(options: { alphabet: string; omitPadding: boolean }): string;
  fromBase64?(text: string, options: { alphabet: string }): Uint8Array;
}

/** Computes the sha256 of some bytes, as 32 bytes. */
export function sha256(data: Uint8Array): Uint8Array {
  return sha256Of(data);
}

/** Encodes bytes as text: `base64` with padding, `base64url` without. */
export function encode(data: Uint8Array, form: "base64" | "base64url"): string {
  const isUrl = form === "base64url";
  const native = (data as Native).toBase64?.({ alphabet: form, omitPadding: isUrl });
  if (native !== undefined) return native;
  let binary = "";
  for (let at = 0; at < data.length; at += partBytes) {
    binary += String.fromCharCode(...data.subarray(at, at + partBytes));
  }
  const text = btoa(binary);
  return isUrl ? text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "") : text;
}

/** Decodes a text. Returns null if the text is not the canonical encoding of its bytes. */
export function decode(text: string, form: "base64" | "base64url"): Uint8Array | null {
  try {
    const bytes = (Uint8Array as Native).fromBase64?.(text, { alphabet: form }) ?? decodedSlowly(text);
    // Decoders also take white space, missing padding and bits that are not zero at the end.
    return encode(bytes, form) === text ? bytes : null;
  } catch {
    return null;
  }
}

function decodedSlowly(text: string): Uint8Array {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = binary.charCodeAt(at);
  return bytes;
}
