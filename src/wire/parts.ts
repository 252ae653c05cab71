/**
 * The manifest of a file that is sent in parts. Each part is a blob. The manifest is a blob, too, and names the parts
 * in order; the message's tag `parts` states the size of the file and the number of parts. Source:
 * docs/protocol/envelope.md.
 */
import { joinBytes, readU32, u32 } from "../lib/big-endian.ts";
import { blobBytesMax } from "./api.ts";
import { fromBase64, fromHex, toBase64, toHex } from "./encoding.ts";
import type { BlobRef } from "./frame.ts";

const hashBytes = 32;
const nonceBytes = 24;
/** The overhead of a part's encryption, in bytes. */
const sealBytes = 16;
const entryBytes = hashBytes + nonceBytes + 4;

/** The size of the parts that this client makes, in bytes: a receiver has whole parts in memory. */
export const partBytes = 2 * 1_048_576;

/** The largest number of parts: the manifest must fit into a blob. */
export const partsMax = Math.floor((blobBytesMax - sealBytes) / entryBytes);

/** The tag `parts` of a message: what the file behind its manifest consists of. */
export interface PartsTag {
  /** The size of the file, in bytes. */
  readonly size: bigint;
  /** The number of parts. */
  readonly count: number;
}

/** Encodes the references of a file's parts, in order. Errors: TypeError for an invalid reference. */
export function encodeManifest(parts: readonly BlobRef[]): Uint8Array {
  return joinBytes(
    parts.flatMap(({ h, n, sz }) => {
      const [hash, nonce] = [fromHex(h), fromBase64(n)];
      if (hash?.length !== hashBytes || nonce?.length !== nonceBytes) throw new TypeError("not a blob reference");
      return [hash, nonce, u32(sz)];
    }),
  );
}

/**
 * Decodes a manifest and checks it against the message's tag. Null if it has another number of parts, if a part is
 * empty or larger than a blob may be, or if the sizes do not add up to the file's.
 */
export function decodeManifest(manifest: Uint8Array, { size, count }: PartsTag): BlobRef[] | null {
  if (count < 1 || count > partsMax || manifest.length !== count * entryBytes) return null;
  const parts: BlobRef[] = [];
  let total = 0;
  for (let at = 0; at < manifest.length; at += entryBytes) {
    const entry = manifest.subarray(at, at + entryBytes);
    const sz = readU32(entry, hashBytes + nonceBytes);
    if (sz <= sealBytes || sz > blobBytesMax) return null;
    total += sz - sealBytes;
    const nonce = entry.subarray(hashBytes, hashBytes + nonceBytes);
    parts.push({ h: toHex(entry.subarray(0, hashBytes)), n: toBase64(nonce), sz });
  }
  return BigInt(total) === size ? parts : null;
}
