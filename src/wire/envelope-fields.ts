/**
 * The fields of an envelope's header: what each one may say, and how it is read and written. `envelope.ts` uses this
 * table for both directions, so that a sender can write nothing that a receiver would refuse.
 * Source: docs/protocol/envelope.md.
 */
import { joinBytes, readU32, readU64, u8, u32, u64 } from "../lib/big-endian.ts";
import {
  type ChainEntry,
  chainEntryBytes,
  decodeChainEntry,
  decodeStatementTag,
  encodeChainEntries,
  encodeStatementTag,
  type StatementTag,
} from "./chain-entry.ts";
import { bytesOf } from "./encoding.ts";
import type { PartsTag } from "./parts.ts";

/** The most automatic answers that may lead to a message. Source: docs/protocol/envelope.md. */
export const hopsMax = 8;

const headsMax = 4;

/** A field whose tag is unknown here. */
export interface UnknownField {
  readonly tag: number;
  readonly value: Uint8Array;
}

/** The fields of an envelope's header. Absent fields are not sent. Source: docs/protocol/envelope.md. */
export interface EnvelopeHeader {
  /** The kind as sent; absent means `text`. */
  readonly kind?: string | undefined;
  readonly mediaType?: string | undefined;
  /** The name of a file, for people. Never used as a path. */
  readonly fileName?: string | undefined;
  /** The place of this message in its sender's chain. */
  readonly chain?: ChainEntry | undefined;
  /** The newest places that the sender saw in other chains, at most 4. */
  readonly heads?: readonly ChainEntry[] | undefined;
  /** The room statement that the sender had verified. */
  readonly statement?: StatementTag | undefined;
  /** How many automatic answers led to this message, 0 to 8. */
  readonly hops?: number | undefined;
  /** Numbers of this chain that were never stored, at most 16. */
  readonly void?: readonly number[] | undefined;
  /** The file is sent in parts: the frame's blob is their manifest. */
  readonly parts?: PartsTag | undefined;
  readonly unknown?: readonly UnknownField[] | undefined;
}

/** What is wrong with an envelope. */
export type EnvelopeFault =
  /** Ends before its header does. */
  | "truncated"
  /** The header is longer than 1,024 bytes. */
  | "header-too-long"
  /** The header ends within a tag and its length. */
  | "field-cut"
  /** A field is longer than the rest of the header. */
  | "past-the-end"
  | "not-ascending"
  | "repeated-tag"
  | "tag-zero"
  | "kind"
  | "media-type"
  | "file-name"
  | "chain-length"
  | "heads-length"
  | "statement-length"
  | "hops"
  | "void-length"
  | "parts-length";

const kindShape = /^[a-z][a-z0-9.-]{0,31}$/;
const mediaTypeShape = /^[\x20-\x7e]{1,127}$/;
/** Control characters, characters that change the direction of text, and separators of paths. */
const badInFileName = /[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069/\\]/u;
const fileNameBytesMax = 255;

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function textIn(bytes: Uint8Array): string | null {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return null;
  }
}

/** A text of ASCII, or null. */
function asciiIn(bytes: Uint8Array, shape: RegExp): string | null {
  const text = textIn(bytes);
  return text !== null && shape.test(text) ? text : null;
}

function fileNameIn(bytes: Uint8Array): string | null {
  if (bytes.length === 0 || bytes.length > fileNameBytesMax) return null;
  const name = textIn(bytes);
  const isBad = name === null || name === "." || name === ".." || badInFileName.test(name);
  return isBad || name.normalize("NFC") !== name ? null : name;
}

/** Splits bytes into 1 to `max` pieces of one size, or returns null. */
function pieces(bytes: Uint8Array, size: number, max: number): Uint8Array[] | null {
  const count = bytes.length / size;
  if (!Number.isInteger(count) || count < 1 || count > max) return null;
  return Array.from({ length: count }, (_, at) => bytes.subarray(at * size, (at + 1) * size));
}

function headsIn(bytes: Uint8Array): ChainEntry[] | null {
  return pieces(bytes, chainEntryBytes, headsMax)?.flatMap((one) => decodeChainEntry(one) ?? []) ?? null;
}

function hopsIn(bytes: Uint8Array): number | null {
  const [hops] = bytes;
  return bytes.length === 1 && hops !== undefined && hops <= hopsMax ? hops : null;
}

/** How one known field is read and written. `read` returns null for a bad value. */
interface Field<T> {
  readonly tag: number;
  readonly fault: EnvelopeFault;
  /** What the value must be, in words that follow "use". */
  readonly wanted: string;
  readonly read: (bytes: Uint8Array) => T | null;
  /** Throws for a value that is not allowed, unless `read` finds out. */
  readonly write: (value: T) => Uint8Array;
  /** Whether bytes that `write` made are allowed, where that takes less than to read them. */
  readonly isWritten?: (bytes: Uint8Array) => boolean;
}

const isAny = (): boolean => true;
const isSome = (bytes: Uint8Array, size: number, max: number): boolean =>
  bytes.length >= size && bytes.length <= size * max;

/** The name of a known field. */
export type KnownField = Exclude<keyof EnvelopeHeader, "unknown">;

/** All known fields. Source: docs/protocol/envelope.md. */
export const fields: { readonly [K in KnownField]: Field<NonNullable<EnvelopeHeader[K]>> } = {
  kind: {
    tag: 1,
    fault: "kind",
    wanted: "1 to 32 characters a-z, 0-9, . and -, beginning with a letter",
    read: (bytes) => asciiIn(bytes, kindShape),
    write: bytesOf,
  },
  mediaType: {
    tag: 2,
    fault: "media-type",
    wanted: "1 to 127 printable ASCII characters",
    read: (bytes) => asciiIn(bytes, mediaTypeShape),
    write: bytesOf,
  },
  fileName: {
    tag: 3,
    fault: "file-name",
    wanted: "1 to 255 bytes of UTF-8 in NFC, without /, \\, control characters and bidi controls",
    read: fileNameIn,
    write: bytesOf,
  },
  chain: {
    tag: 4,
    fault: "chain-length",
    wanted: "one chain entry",
    read: decodeChainEntry,
    write: (entry) => encodeChainEntries([entry]),
    isWritten: isAny,
  },
  heads: {
    tag: 5,
    fault: "heads-length",
    wanted: "1 to 4 chain entries",
    read: headsIn,
    write: encodeChainEntries,
    isWritten: (bytes) => isSome(bytes, chainEntryBytes, headsMax),
  },
  statement: {
    tag: 6,
    fault: "statement-length",
    wanted: "a version and a hash",
    read: decodeStatementTag,
    write: encodeStatementTag,
    isWritten: isAny,
  },
  hops: {
    tag: 7,
    fault: "hops",
    wanted: `a whole number from 0 to ${hopsMax}`,
    read: hopsIn,
    write: u8,
  },
  void: {
    tag: 8,
    fault: "void-length",
    wanted: "1 to 16 numbers of 32 bits",
    read: (bytes) => pieces(bytes, 4, 16)?.map((one) => readU32(one)) ?? null,
    write: (numbers) => joinBytes(numbers.map(u32)),
  },
  parts: {
    tag: 129,
    fault: "parts-length",
    wanted: "a size of 64 bits and a count of 32 bits",
    read: (bytes) => (bytes.length === 12 ? { size: readU64(bytes), count: readU32(bytes, 8) } : null),
    write: ({ size, count }) => joinBytes([u64(size), u32(count)]),
  },
};
