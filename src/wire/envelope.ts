/**
 * The envelope: what a message's payload says about itself, before encryption. It begins with four fixed bytes and a
 * header of tagged fields; the rest is the body. A payload without these bytes is a bare body of kind `text`.
 *
 * The format grows by tags only. A reader skips an unknown tag below 128, and delivers a message with another unknown
 * tag, or of an unknown kind, as `unsupported`. Every other deviation drops the message as `bad_envelope`. Decoding and
 * encoding are inverse: every valid envelope has exactly one header. Source: docs/protocol/envelope.md.
 */
import { readU16, u16 } from "../lib/big-endian.ts";
import {
  type EnvelopeFault,
  type EnvelopeHeader,
  fields,
  type KnownField,
  type UnknownField,
} from "./envelope-fields.ts";
import { UnibusError } from "./errors.ts";
import { type Dropped, type FrameType, frameTypes } from "./frame.ts";

export { type EnvelopeHeader, hopsMax } from "./envelope-fields.ts";

/** The first bytes of every envelope. Fixed. Source: docs/protocol/envelope.md. */
export const envelopeMagic: readonly number[] = [0x00, 0x75, 0x62, 0x01];
/** The longest header, in bytes. Source: docs/protocol/envelope.md. */
export const headerBytesMax = 1_024;
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

/** In the order of their tags. */
const names = (Object.keys(fields) as KnownField[]).sort((one, other) => fields[one].tag - fields[other].tag);
const nameOfTag = new Map<number, KnownField>(names.map((name) => [fields[name].tag, name]));

const bad = (fault: EnvelopeFault): BadEnvelope => ({ drop: "bad_envelope", fault });

/** Whether a payload begins like an envelope. */
function isEnveloped(payload: Uint8Array): boolean {
  return envelopeMagic.every((byte, at) => payload[at] === byte);
}

/** Reads the fields of a header, or returns the first fault. */
function readHeader(header: Uint8Array): EnvelopeHeader | EnvelopeFault {
  const known: Partial<Record<KnownField, unknown>> = {};
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
function writeField<K extends KnownField>(name: K, value: NonNullable<EnvelopeHeader[K]>): UnknownField {
  const { tag, wanted, read, write, isWritten = (bytes) => read(bytes) !== null } = fields[name];
  try {
    const bytes = write(value);
    if (isWritten(bytes)) return { tag, value: bytes };
  } catch {
    // A number out of range, or not hex: refused below.
  }
  throw refused(name, value, wanted);
}

/** The fields of a header, in the order of their tags. Errors: invalid for a bad value or a repeated tag. */
function fieldsOf(header: EnvelopeHeader): UnknownField[] {
  const list: UnknownField[] = [];
  for (const name of names) {
    const value = header[name];
    if (value !== undefined) list.push(writeField(name, value));
  }
  if (header.unknown === undefined) return list;
  const all = [...list, ...header.unknown].sort((one, other) => one.tag - other.tag);
  const isBad = ({ tag }: UnknownField, at: number) => !(tag > (all[at - 1]?.tag ?? 0) && tag <= 255);
  if (all.some(isBad)) throw refused("header", "a tag", "each tag once, from 1 to 255");
  return all;
}

/**
 * Encodes an envelope. The only program that writes `unknown` fields is one that passes on what it read.
 * Errors: invalid for a bad value, a repeated tag, or a header above 1,024 bytes. Source: docs/protocol/envelope.md.
 */
export function encodeEnvelope(header: EnvelopeHeader, body: Uint8Array): Uint8Array {
  const list = fieldsOf(header);
  let length = 0;
  for (const { value } of list) length += fieldHeadBytes + value.length;
  if (length > headerBytesMax) throw refused("header", length, `at most ${headerBytesMax} bytes`);
  const payload = new Uint8Array(headerAt + length + body.length);
  payload.set(envelopeMagic);
  payload.set(u16(length), envelopeMagic.length);
  let at = headerAt;
  for (const { tag, value } of list) {
    payload[at] = tag;
    payload.set(u16(value.length), at + 1);
    payload.set(value, at + fieldHeadBytes);
    at += fieldHeadBytes + value.length;
  }
  payload.set(body, at);
  return payload;
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
