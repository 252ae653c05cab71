/**
 * The frame: one message on the data plane, as canonical JSON. Encoding is deterministic, so a frame's bytes are what
 * its sender signed, and any other spelling of the same JSON is rejected. This file decodes, encodes and names the
 * texts that signatures and encryption cover; it neither verifies nor decrypts. The client's `Publisher` and `Receiver`
 * use it; the bus carries frames without decoding them. Source: docs/protocol/frames.md.
 */
import { blobBytesMax } from "./api.ts";
import { bytesOf } from "./encoding.ts";
import { UnibusError } from "./errors.ts";
import { endpointPattern, subjectLengthMax, subjectTokenPattern, ulidPattern } from "./names.ts";
import { frameText } from "./sign.ts";
import { epochMax } from "./statement.ts";

/** The largest frame on the wire, in bytes. Source: docs/protocol/frames.md. */
export const frameBytesMax = 1_048_576;

/**
 * The frame types and their numbers. Fixed. The application gets frames of every type as messages; types 1 to 5 have no
 * meaning in the client. Where else the format is written down: docs/architecture.md, "Adding to the wire".
 * Source: docs/protocol/frames.md.
 */
export const frameTypes = { PUB: 0, INVITE: 1, JOIN: 2, LEAVE: 3, KICK: 4, ACK: 5, REACT: 6 } as const;

/** The number of a frame type. */
export type FrameType = (typeof frameTypes)[keyof typeof frameTypes];

/** A reference to an encrypted blob: where its bytes are, and the nonce that decrypts them. */
export interface BlobRef {
  /** Hex sha256 of the ciphertext, which is the blob's name on the bus. */
  readonly h: string;
  /** The AEAD nonce, base64-std of 24 bytes. */
  readonly n: string;
  /** The size of the ciphertext, in bytes. */
  readonly sz: number;
}

/**
 * A decoded frame. Byte fields stay base64-std.
 * Shape: empty fields are absent. `p` is the payload, encrypted if the room encrypts. Source: docs/protocol/frames.md.
 */
export interface Frame {
  readonly t: FrameType;
  /** The room's subject. */
  readonly s: string;
  /** The endpoint id of the sender. */
  readonly from: string;
  readonly id: string;
  /** The epoch whose key encrypts the payload. */
  readonly e: number;
  /** The AEAD nonce of the payload, 24 bytes. */
  readonly n?: string | undefined;
  readonly p?: string | undefined;
  readonly b?: BlobRef | undefined;
  /** The signature, 64 bytes, over `frameSigningText`. */
  readonly sig?: string | undefined;
  /** The id of the frame that started the thread. */
  readonly thr?: string | undefined;
  /** The id of the frame that this one replies to. */
  readonly re?: string | undefined;
}

/** The reason why a receiver dropped a frame; drops are counted per reason. Source: docs/protocol/frames.md. */
export type DropReason =
  /** More than 1 MiB. */
  | "too_large"
  /** Not JSON in UTF-8, or it starts with a byte order mark. */
  | "not_json"
  /** Valid JSON, but not a canonical frame: a wrong key, key order, value format or range. */
  | "not_canonical"
  /** The frame's subject is not the room's. */
  | "wrong_subject"
  /** The sender is not a member in the frame's epoch. */
  | "not_a_member"
  /** A duplicate: the same sender and id were seen before. */
  | "repeat"
  /** A live frame of an epoch that ended a while ago. */
  | "old_epoch"
  /** The epoch is later than a fresh read of the room shows. */
  | "epoch_ahead"
  /** Not signed, but the room requires signatures. */
  | "unsigned"
  /** The signature is invalid. Counts whether or not the room requires one. */
  | "bad_signature"
  /**
   * Encrypted with another key or for another room, plaintext in an encrypted room, or ciphertext in a plaintext one.
   */
  | "not_decryptable"
  /** Decrypted, but its envelope is invalid. Source: docs/protocol/envelope.md. */
  | "bad_envelope";

/** A frame that was dropped, with the reason. */
export interface Dropped {
  readonly drop: DropReason;
}

/** Reports whether a result is a dropped frame. */
export function isDropped(one: object): one is Dropped {
  return "drop" in one;
}

const inner = (pattern: string) => pattern.slice(1, -1);
const ulid = inner(ulidPattern);
const base64 = "[A-Za-z0-9+/]";
const nonce = `${base64}{32}`;
const subject = `${subjectTokenPattern}(?:\\.${subjectTokenPattern}){1,${subjectLengthMax / 2 - 1}}`;
const blobRef = `\\{"h":"([0-9a-f]{64})","n":"(${nonce})","sz":(0|[1-9][0-9]{0,7})\\}`;

/**
 * The whole grammar of a frame as one regular expression, so the result never depends on a JSON parser. A matching text
 * has one reading in every language, and encoding the decoded frame gives the same text. Ranges are checked separately.
 */
const shape = new RegExp(
  [
    `^\\{"t":([0-6]),"s":"(${subject})","from":"(${inner(endpointPattern)})"`,
    `,"id":"(${ulid})","e":([1-9][0-9]{0,9})(?:,"n":"(${nonce})")?(?:,"p":"(${base64}+={0,2})")?(?:,"b":${blobRef})?`,
    `(?:,"sig":"(${base64}{85}[AQgw]==)")?(?:,"thr":"(${ulid})")?(?:,"re":"(${ulid})")?\\}$`,
  ].join(""),
);

/** The last four characters of canonical base64: the trailing bits are zero. */
const lastFour = new RegExp(`^(?:${base64}{4}|${base64}[AQgw]==|${base64}{2}[AEIMQUYcgkosw048]=)$`);

const isWholeBase64 = (text: string) => text.length % 4 === 0 && lastFour.test(text.slice(-4));

function refOf(h: string | undefined, n: string | undefined, sz: string | undefined): BlobRef | undefined {
  return h === undefined || n === undefined ? undefined : { h, n, sz: Number(sz) };
}

/** Parses a frame's text. Returns null if it does not match the grammar. */
function parse(text: string): Frame | null {
  const found = shape.exec(text);
  if (found === null) return null;
  const [, t, s = "", from = "", id = "", e, n, p, h, refNonce, sz, sig, thr, re] = found;
  const b = refOf(h, refNonce, sz);
  const isInRange =
    s.length <= subjectLengthMax &&
    Number(e) <= epochMax &&
    (p === undefined || isWholeBase64(p)) &&
    (b === undefined || b.sz <= blobBytesMax);
  return isInRange ? { t: Number(t) as FrameType, s, from, id, e: Number(e), n, p, b, sig, thr, re } : null;
}

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Decodes a frame, or returns the reason to drop it.
 * Shape: encoding the result gives the same bytes. The signature is not verified and the payload not decrypted.
 * Source: docs/protocol/frames.md.
 */
export function decodeFrame(bytes: Uint8Array): Frame | Dropped {
  if (bytes.length > frameBytesMax) return { drop: "too_large" };
  const text = utf8.decode(bytes);
  return parse(text) ?? { drop: isJson(text) ? "not_canonical" : "not_json" };
}

const plainRef = ({ h, n, sz }: BlobRef): BlobRef => ({ h, n, sz });

/** The frame as JSON with keys in canonical order. JSON omits undefined fields, and no field needs escaping. */
function jsonOf({ t, s, from, id, e, n, b, thr, re }: Frame, p?: string, sig?: string): string {
  return JSON.stringify({ t, s, from, id, e, n, p, b: b && plainRef(b), sig, thr, re });
}

/**
 * Encodes a frame in canonical form, the same bytes in every implementation.
 * Errors: too_large above 1 MiB. A frame outside the grammar is a programming error (TypeError).
 * Source: docs/protocol/frames.md.
 */
export function encodeFrame(frame: Frame): Uint8Array {
  const text = jsonOf(frame, frame.p, frame.sig);
  if (text.length > frameBytesMax) {
    throw new UnibusError("too_large", "the message is larger than 1 MiB on the wire (send it as a file: blob)");
  }
  if (parse(text) === null) throw new TypeError("not a frame of wire format v1");
  return bytesOf(text);
}

/** The additional data (AAD) of a frame's encrypted payload: the room, and the frame without payload and signature. */
export function frameAad(roomId: string, frame: Frame): string {
  return frameText(roomId, jsonOf(frame));
}

/** The text that a frame's signature covers: the room, and the frame without the signature. */
export function frameSigningText(roomId: string, frame: Frame): string {
  return frameText(roomId, jsonOf(frame, frame.p));
}

/** The additional data (AAD) of an encrypted blob. */
export function blobAad(roomId: string, epoch: number): string {
  return `unibus-blob-v1\n${roomId}\n${epoch}`;
}

/** Formats a blob reference as it appears in a frame. */
export function blobRefText(ref: BlobRef): string {
  return JSON.stringify(plainRef(ref));
}

const refShape = new RegExp(`^${blobRef}$`);

/** Parses a blob reference. Returns null if the text is not one. */
export function parseBlobRef(text: string): BlobRef | null {
  const [, h, n, sz] = refShape.exec(text) ?? [];
  const ref = refOf(h, n, sz);
  return ref !== undefined && ref.sz <= blobBytesMax ? ref : null;
}
