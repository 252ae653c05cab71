/**
 * Links between messages: positions in a sender's chain, and the room statement that a sender knows.
 *
 * A chain numbers the messages that one run of a sender's program sends to a room. A message carries its own place in
 * its chain, with the hash of the frame before it, and the newest places that its sender saw in other chains. A reader
 * notices from them what the bus dropped, reordered or withheld. Both formats have a fixed length and are tags of the
 * envelope. Source: docs/protocol/envelope.md.
 */
import { sha256 } from "#bytes";
import { joinBytes, readU32, u32 } from "../lib/big-endian.ts";
import { bytesOf, fromHex, toHex } from "./encoding.ts";

/** The length of a chain entry, in bytes. Fixed. Source: docs/protocol/envelope.md. */
export const chainEntryBytes = 28;
/** The length of a statement tag, in bytes. Fixed. Source: docs/protocol/envelope.md. */
export const statementTagBytes = 20;

const idBytes = 8;
const hashBytes = 16;

/** A place in a chain. */
export interface ChainEntry {
  /** The chain's id, 16 hex digits. Random, new for each run of a sender's program in a room. */
  readonly id: string;
  /** The number of the message in its chain, from 0. */
  readonly n: number;
  /**
   * The first half of a frame's sha256, 32 hex digits (`halfHash`). In a message's own entry: the sender's previous
   * frame, or `noHash`. In a head: the frame at this place.
   */
  readonly hash: string;
}

/** The room statement that a sender had verified when it sealed a message. */
export interface StatementTag {
  readonly version: number;
  /** The first half of the sha256 of the statement's text, 32 hex digits. */
  readonly hash: string;
}

/** The hash in a chain entry that has no frame before it: zeros. */
export const noHash = "0".repeat(2 * hashBytes);

/** The first 16 bytes of the sha256 of a frame as sent, or of a statement's text. 32 hex digits. */
export function halfHash(data: Uint8Array | string): string {
  return toHex(sha256(typeof data === "string" ? bytesOf(data) : data).subarray(0, hashBytes));
}

/** The bytes of hex digits. Errors: TypeError for another length. */
function bytesIn(hex: string, length: number): Uint8Array {
  const bytes = fromHex(hex);
  if (bytes?.length !== length) throw new TypeError(`${JSON.stringify(hex)} is not ${2 * length} hex digits`);
  return bytes;
}

/** Encodes a chain entry as 28 bytes. An invalid entry is a programming error (TypeError, RangeError). */
export function encodeChainEntry({ id, n, hash }: ChainEntry): Uint8Array {
  return joinBytes([bytesIn(id, idBytes), u32(n), bytesIn(hash, hashBytes)]);
}

/** Decodes a chain entry; null for another length than 28 bytes. */
export function decodeChainEntry(bytes: Uint8Array): ChainEntry | null {
  if (bytes.length !== chainEntryBytes) return null;
  return {
    id: toHex(bytes.subarray(0, idBytes)),
    n: readU32(bytes, idBytes),
    hash: toHex(bytes.subarray(idBytes + 4)),
  };
}

/** Encodes a statement tag as 20 bytes. An invalid tag is a programming error (TypeError, RangeError). */
export function encodeStatementTag({ version, hash }: StatementTag): Uint8Array {
  return joinBytes([u32(version), bytesIn(hash, hashBytes)]);
}

/** Decodes a statement tag; null for another length than 20 bytes. */
export function decodeStatementTag(bytes: Uint8Array): StatementTag | null {
  if (bytes.length !== statementTagBytes) return null;
  return { version: readU32(bytes), hash: toHex(bytes.subarray(4)) };
}
