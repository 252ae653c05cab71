import type { StoredBlob } from "../../client/index.ts";
import { blobBytesMax } from "../../wire/api.ts";
import { fromBase64, fromBase64Url, toBase64, toBase64Url } from "../../wire/encoding.ts";
import { epochMax } from "../../wire/statement.ts";

const shape = /^([0-9a-f]{64})\.([A-Za-z0-9_-]{32})\.(0|[1-9][0-9]{0,7})\.([1-9][0-9]{0,9})$/;

/**
 * Encodes a blob reference as one word: `<sha256 of the ciphertext>.<nonce, base64url>.<size>.<epoch>`. It is not
 * secret: only the room's key opens the blob.
 */
export function refWord({ blob, epoch }: StoredBlob): string {
  const nonce = toBase64Url(fromBase64(blob.n) ?? new Uint8Array());
  return [blob.h, nonce, blob.sz, epoch].join(".");
}

/** Parses a reference, or returns null if it is malformed. */
export function parseRefWord(text: string): StoredBlob | null {
  const [, h, nonce, size, epochText] = shape.exec(text) ?? [];
  const bytes = fromBase64Url(nonce ?? "");
  if (h === undefined || bytes === null) return null;
  const [sz, epoch] = [Number(size), Number(epochText)];
  return sz > blobBytesMax || epoch > epochMax ? null : { blob: { h, n: toBase64(bytes), sz }, epoch };
}
