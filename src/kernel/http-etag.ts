import { createHash } from "node:crypto";

/** Length of the hash in a tag, in characters of base64url: 128 bits. */
const tagLength = 22;

/** Computes the strong entity tag of a reply's body. */
export function etagOf(body: string): string {
  return `"${createHash("sha256").update(body).digest("base64url").slice(0, tagLength)}"`;
}

/** Whether If-None-Match contains the tag, so the client already has this reply. Source: RFC 9110, 13.1.2. */
export function isKnown(ifNoneMatch: string | null, etag: string): boolean {
  if (ifNoneMatch === null) return false;
  const tags = ifNoneMatch.split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  return tags.includes(etag) || tags.includes("*");
}
