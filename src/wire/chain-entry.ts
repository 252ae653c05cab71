/**
 * Links between messages: positions in a sender's chain, and the room statement that a sender knows.
 *
 * A chain numbers the messages that one run of a sender's program sends to a room. A message carries its own place in
 * its chain, with the hash of the frame before it, and the newest places that its sender saw in other chains. A reader
 * notices from them what the bus dropped, reordered or withheld. Both formats have a fixed length and are tags of the
 * envelope. Source: docs/protocol/envelope.md.
 */
import { sha256 } from "#bytes";
import { readU32, u32 } from "../lib/big-endian.ts";
import { bytesOf, toHex } from "./encoding.ts";

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

const hexShapes = { [idBytes]: /^[0-9a-f]{16}$/, [hashBytes]: /^[0-9a-f]{32}$/ } as const;

/** The value of a lowercase hex digit, given by its character code. */
const digitOf = (code: number): number => (code <= 0x39 ? code - 0x30 : code - 0x57);

/**
 * Writes hex digits as bytes. Every message has several of these values, so this does without `fromHex`, which is
 * several times as slow. Errors: TypeError for anything but that number of digits.
 */
function writeHex(to: Uint8Array, at: number, hex: string, length: 8 | 16): void {
  if (!hexShapes[length].test(hex)) throw new TypeError(`${JSON.stringify(hex)} is not ${2 * length} hex digits`);
  for (let i = 0; i < length; i++) {
    to[at + i] = (digitOf(hex.charCodeAt(2 * i)) << 4) | digitOf(hex.charCodeAt(2 * i + 1));
  }
}

/** Encodes chain entries, 28 bytes each. An invalid entry is a programming error (TypeError, RangeError). */
export function encodeChainEntries(entries: readonly ChainEntry[]): Uint8Array {
  const bytes = new Uint8Array(entries.length * chainEntryBytes);
  let at = 0;
  for (const { id, n, hash } of entries) {
    writeHex(bytes, at, id, idBytes);
    bytes.set(u32(n), at + idBytes);
    writeHex(bytes, at + idBytes + 4, hash, hashBytes);
    at += chainEntryBytes;
  }
  return bytes;
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
  const bytes = new Uint8Array(statementTagBytes);
  bytes.set(u32(version));
  writeHex(bytes, 4, hash, hashBytes);
  return bytes;
}

/** Decodes a statement tag; null for another length than 20 bytes. */
export function decodeStatementTag(bytes: Uint8Array): StatementTag | null {
  if (bytes.length !== statementTagBytes) return null;
  return { version: readU32(bytes), hash: toHex(bytes.subarray(4)) };
}
