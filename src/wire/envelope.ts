/**
 * The envelope: what a message's payload says about itself, before encryption. It begins with four fixed bytes and a
 * header of tagged fields; the rest is the body. A payload without these bytes is a bare body of kind `text`.
 *
 * The format grows by tags only. A reader skips an unknown tag below 128, and delivers a message with another unknown
 * tag, or of an unknown kind, as `unsupported`. Every other deviation drops the message as `bad_envelope`. Decoding and
 * encoding are inverse: every valid envelope has exactly one header. Source: docs/protocol/envelope.md.
 */
import { joinBytes, readU16, readU32, readU64, u8, u16, u32, u64 } from "../lib/big-endian.ts";
import {
  type ChainEntry,
  chainEntryBytes,
  decodeChainEntry,
  decodeStatementTag,
  encodeChainEntry,
  encodeStatementTag,
  type StatementTag,
} from "./chain-entry.ts";
import { bytesOf } from "./encoding.ts";
import { UnibusError } from "./errors.ts";
import { type Dropped, type FrameType, frameTypes } from "./frame.ts";
import type { PartsTag } from "./parts.ts";

/** The first bytes of every envelope. Fixed. Source: docs/protocol/envelope.md. */
export const envelopeMagic: readonly number[] = [0x00, 0x75, 0x62, 0x01];
/** The longest header, in bytes. Source: docs/protocol/envelope.md. */
export const headerBytesMax = 1_024;
/** The most automatic answers that may lead to a message. Source: docs/protocol/envelope.md. */
export const hopsMax = 8;

const headerAt = envelopeMagic.length + 2;
const fieldHeadBytes = 3;
/** Tags from here on must be understood. */
const criticalTag = 128;

/** The kinds of messages that have a meaning here. Fixed. Source: docs/protocol/envelope.md. */
export const contentKinds = [
  "text",
  "data",
  "file",
  "edit",
  "delete",
  "react",
  "unreact",
  "pin",
  "title",
  "receipt",
] as const;

/** A kind that a sender may give a message: one of the list, or one of an application. */
export type ContentKind = (typeof contentKinds)[number] | `app.${string}`;

/** The kinds of frames of types 1 to 5, which have no envelope. */
export type PlainKind = "invite" | "join" | "leave" | "kick" | "ack";

/** The kind of a received message. `unsupported`: it needs a newer client. Source: docs/protocol/envelope.md. */
export type MessageKind = ContentKind | PlainKind | "unsupported";

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

/** A payload that is not a valid envelope, and why. */
export interface BadEnvelope extends Dropped {
  readonly drop: "bad_envelope";
  readonly fault: EnvelopeFault;
}

/** A decoded payload. */
export interface Content {
  readonly kind: MessageKind;
  readonly header: EnvelopeHeader;
  readonly body: Uint8Array;
}

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
  return pieces(bytes, chainEntryBytes, 4)?.flatMap((one) => decodeChainEntry(one) ?? []) ?? null;
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
  readonly write: (value: T) => Uint8Array;
}

type Known = Exclude<keyof EnvelopeHeader, "unknown">;

const fields: { readonly [K in Known]: Field<NonNullable<EnvelopeHeader[K]>> } = {
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
    write: encodeChainEntry,
  },
  heads: {
    tag: 5,
    fault: "heads-length",
    wanted: "1 to 4 chain entries",
    read: headsIn,
    write: (heads) => joinBytes(heads.map(encodeChainEntry)),
  },
  statement: {
    tag: 6,
    fault: "statement-length",
    wanted: "a version and a hash",
    read: decodeStatementTag,
    write: encodeStatementTag,
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

const names = Object.keys(fields) as Known[];
const nameOfTag = new Map<number, Known>(names.map((name) => [fields[name].tag, name]));

const bad = (fault: EnvelopeFault): BadEnvelope => ({ drop: "bad_envelope", fault });

/** Whether a payload begins like an envelope. */
function isEnveloped(payload: Uint8Array): boolean {
  return envelopeMagic.every((byte, at) => payload[at] === byte);
}

/** Reads the fields of a header, or returns the first fault. */
function readHeader(header: Uint8Array): EnvelopeHeader | EnvelopeFault {
  const known: Partial<Record<Known, unknown>> = {};
  const unknown: UnknownField[] = [];
  let last = 0;
  for (let at = 0; at < header.length; ) {
    if (at + fieldHeadBytes > header.length) return "field-cut";
    const tag = header[at] ?? 0;
    const end = at + fieldHeadBytes + readU16(header, at + 1);
    if (tag === 0) return "tag-zero";
    if (tag === last) return "repeated-tag";
    if (tag < last) return "not-ascending";
    if (end > header.length) return "past-the-end";
    const value = header.subarray(at + fieldHeadBytes, end);
    const name = nameOfTag.get(tag);
    if (name === undefined) unknown.push({ tag, value });
    else {
      known[name] = fields[name].read(value);
      if (known[name] === null) return fields[name].fault;
    }
    last = tag;
    at = end;
  }
  return (unknown.length === 0 ? known : { ...known, unknown }) as EnvelopeHeader;
}

const listed: ReadonlySet<string> = new Set(contentKinds);

/** Whether a kind has a meaning here or belongs to an application. */
export function isContentKind(kind: string): kind is ContentKind {
  return listed.has(kind) || kind.startsWith("app.");
}

/** The kind of a message with this header: `unsupported` if it says more than this program understands. */
function kindOf({ kind = "text", unknown = [] }: EnvelopeHeader): ContentKind | "unsupported" {
  return isContentKind(kind) && !unknown.some(({ tag }) => tag >= criticalTag) ? kind : "unsupported";
}

/**
 * Decodes a payload, after decryption.
 * Shape: `body` is a view into the payload. Never throws because of the content. Source: docs/protocol/envelope.md.
 */
export function decodeEnvelope(payload: Uint8Array): Content | BadEnvelope {
  if (!isEnveloped(payload)) return { kind: "text", header: {}, body: payload };
  if (payload.length < headerAt) return bad("truncated");
  const length = readU16(payload, envelopeMagic.length);
  if (length > headerBytesMax) return bad("header-too-long");
  const bodyAt = headerAt + length;
  if (payload.length < bodyAt) return bad("truncated");
  const header = readHeader(payload.subarray(headerAt, bodyAt));
  if (typeof header === "string") return bad(header);
  return { kind: kindOf(header), header, body: payload.subarray(bodyAt) };
}

const plainKinds = new Map<FrameType, PlainKind>([
  [frameTypes.INVITE, "invite"],
  [frameTypes.JOIN, "join"],
  [frameTypes.LEAVE, "leave"],
  [frameTypes.KICK, "kick"],
  [frameTypes.ACK, "ack"],
]);

/**
 * Decodes the payload of a frame of some type: types 1 to 5 have no envelope, and a bare body in a frame of type 6 is a
 * reaction. Source: docs/protocol/envelope.md.
 */
export function contentOf(type: FrameType, payload: Uint8Array): Content | BadEnvelope {
  const plain = plainKinds.get(type);
  if (plain !== undefined) return { kind: plain, header: {}, body: payload };
  if (type === frameTypes.REACT && !isEnveloped(payload)) return { kind: "react", header: {}, body: payload };
  return decodeEnvelope(payload);
}

function refused(name: string, value: unknown, wanted: string): UnibusError {
  const shown = typeof value === "string" || typeof value === "number" ? JSON.stringify(value) : "the value given";
  return new UnibusError("invalid", `${shown} is not a valid ${name} of a message (use ${wanted})`);
}

/** Writes one known field. Errors: invalid if the value is not allowed. */
function writeField<K extends Known>(name: K, value: NonNullable<EnvelopeHeader[K]>): UnknownField {
  const { tag, wanted, read, write } = fields[name];
  try {
    const bytes = write(value);
    if (read(bytes) !== null) return { tag, value: bytes };
  } catch {
    // A number out of range, or not hex: refused below.
  }
  throw refused(name, value, wanted);
}

/**
 * Encodes an envelope. The only program that writes `unknown` fields is one that passes on what it read.
 * Errors: invalid for a bad value, a repeated tag, or a header above 1,024 bytes. Source: docs/protocol/envelope.md.
 */
export function encodeEnvelope(header: EnvelopeHeader, body: Uint8Array): Uint8Array {
  const known = names.flatMap((name) => {
    const value = header[name];
    return value === undefined ? [] : [writeField(name, value)];
  });
  const all = [...known, ...(header.unknown ?? [])].sort((one, other) => one.tag - other.tag);
  const encoded = joinBytes(all.flatMap(({ tag, value }) => [Uint8Array.of(tag), u16(value.length), value]));
  if (encoded.length > headerBytesMax) {
    throw refused("header", encoded.length, `at most ${headerBytesMax} bytes`);
  }
  const fault = readHeader(encoded);
  if (typeof fault === "string") throw refused("header", fault, "each tag once, from 1 to 255");
  return joinBytes([Uint8Array.from(envelopeMagic), u16(encoded.length), encoded, body]);
}

/**
 * The payload of a frame: an envelope if the header says anything or the body could be mistaken for one, else the bare
 * body, which has the kind that readers assume for the frame's type.
 * Errors: those of `encodeEnvelope`. Source: docs/protocol/envelope.md.
 */
export function payloadOf(type: FrameType, header: EnvelopeHeader, body: Uint8Array): Uint8Array {
  if (plainKinds.has(type)) return body;
  const isPlain = Object.values(header).every((value) => value === undefined) && !isEnveloped(body);
  return isPlain ? body : encodeEnvelope(header, body);
}
