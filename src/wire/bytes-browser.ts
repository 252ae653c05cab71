import { sha256 as sha256Of } from "@noble/hashes/sha2.js";

/** How many bytes become arguments of one call. Browsers accept at least 65,535. */
const partBytes = 8_192;

/** Computes the sha256 of some bytes, as 32 bytes. */
export function sha256(data: Uint8Array): Uint8Array {
  return sha256Of(data);
}

/** Encodes bytes as text: `base64` with padding, `base64url` without. */
export function encode(data: Uint8Array, form: "base64" | "base64url"): string {
  let binary = "";
  for (let at = 0; at < data.length; at += partBytes) {
    binary += String.fromCharCode(...data.subarray(at, at + partBytes));
  }
  const text = btoa(binary);
  return form === "base64" ? text : text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** Decodes a text. Returns null if the text is not the canonical encoding of its bytes. */
export function decode(text: string, form: "base64" | "base64url"): Uint8Array | null {
  try {
    const binary = atob(form === "base64" ? text : text.replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
    // `atob` also takes white space, missing padding and bits that are not zero at the end.
    return encode(bytes, form) === text ? bytes : null;
  } catch {
    return null;
  }
}
