import { blobBytesMax } from "./api.ts";
import { bytesOf } from "./encoding.ts";
import { UnibusError } from "./errors.ts";
import { endpointPattern, subjectLengthMax, subjectTokenPattern, ulidPattern } from "./names.ts";
import { frameText } from "./sign.ts";
import { epochMax } from "./statement.ts";

/** The largest frame on the wire, in bytes. Source: spec 4. */
export const frameBytesMax = 1_048_576;

/** The types of frames and their numbers. Fixed: 1 to 5 are told to the application, no more. Source: spec 4. */
export const frameTypes = { PUB: 0, INVITE: 1, JOIN: 2, LEAVE: 3, KICK: 4, ACK: 5, REACT: 6 } as const;

/** The number of a frame's type. */
export type FrameType = (typeof frameTypes)[keyof typeof frameTypes];

/** Where the bytes of a blob are, and what opens them. */
export interface BlobRef {
  /** Hex sha256 of the ciphertext: its name on the bus. */
  readonly h: string;
  /** The AEAD nonce, base64-std of 24 bytes. */
  readonly n: string;
  /** The size of the ciphertext, in bytes. */
  readonly sz: number;
}

/**
 * A frame as its JSON says it: byte fields stay base64-std.
 * Shape: what is empty is absent. `p` is the payload, sealed in a room that encrypts. Source: spec 4.
 */
export interface Frame {
  readonly t: FrameType;
  /** The subject of the room. */
  readonly s: string;
  /** The endpoint id of the sender. */
  readonly from: string;
  readonly id: string;
  /** The epoch whose key seals the payload. */
  readonly e: number;
  /** The AEAD nonce of the payload, 24 bytes. */
  readonly n?: string | undefined;
  readonly p?: string | undefined;
  readonly b?: BlobRef | undefined;
  /** 64 bytes over `frameSigningText`. */
  readonly sig?: string | undefined;
  /** The id of the frame that began the thread. */
  readonly thr?: string | undefined;
  /** The id of the frame that this one answers. */
  readonly re?: string | undefined;
}

/** Why a receiver dropped a frame: what it counts by. Source: spec 4. */
export type DropReason =
  /** More than 1 MiB. */
  | "too_large"
  /** No JSON in UTF-8, a byte order mark included. */
  | "not_json"
  /** JSON, but not the one text of a frame: a key, its place, the form of a value or its range is another. */
  | "not_canonical"
  /** Its subject is not the room's. */
  | "wrong_subject"
  /** Its sender is no member in the frame's epoch. */
  | "not_a_member"
  /** A second one of the same sender and id. */
  | "repeat"
  /** A live one of an epoch that ended a while ago. */
  | "old_epoch"
  /** Of a later epoch than a fresh read of the room shows. */
  | "epoch_ahead"
  /** No signature, where the room demands one. */
  | "unsigned"
  /** A signature that does not hold, whether one is demanded or not. */
  | "bad_signature"
  /** Sealed with another key or for another place, not sealed where the room encrypts, or sealed where it does not. */
  | "not_decryptable";

/** A frame that nobody is to see. */
export interface Dropped {
  readonly drop: DropReason;
}

/** Whether something was dropped. */
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
 * The closed grammar as one expression, so that no parser decides what a frame is: what it matches has one reading in
 * every language, and is what encoding the result would write again. Ranges are checked apart.
 */
const shape = new RegExp(
  [
    `^\\{"t":([0-6]),"s":"(${subject})","from":"(${inner(endpointPattern)})"`,
    `,"id":"(${ulid})","e":([1-9][0-9]{0,9})(?:,"n":"(${nonce})")?(?:,"p":"(${base64}+={0,2})")?(?:,"b":${blobRef})?`,
    `(?:,"sig":"(${base64}{85}[AQgw]==)")?(?:,"thr":"(${ulid})")?(?:,"re":"(${ulid})")?\\}$`,
  ].join(""),
);

/** The last four characters of base64 whose trailing bits are zero. */
const lastFour = new RegExp(`^(?:${base64}{4}|${base64}[AQgw]==|${base64}{2}[AEIMQUYcgkosw048]=)$`);

const isWholeBase64 = (text: string) => text.length % 4 === 0 && lastFour.test(text.slice(-4));

function refOf(h: string | undefined, n: string | undefined, sz: string | undefined): BlobRef | undefined {
  return h === undefined || n === undefined ? undefined : { h, n, sz: Number(sz) };
}

/** The frame that a text is, or null when the text is none. */
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
 * The frame in some bytes, or why they are none.
 * Shape: what it gives encodes to those bytes again. Neither signature nor payload is looked into. Source: spec 4.
 */
export function decodeFrame(bytes: Uint8Array): Frame | Dropped {
  if (bytes.length > frameBytesMax) return { drop: "too_large" };
  const text = utf8.decode(bytes);
  return parse(text) ?? { drop: isJson(text) ? "not_canonical" : "not_json" };
}

const plainRef = ({ h, n, sz }: BlobRef): BlobRef => ({ h, n, sz });

/** Keys in their order; JSON leaves out what is undefined, and the grammar knows nothing that would be escaped. */
function jsonOf({ t, s, from, id, e, n, b, thr, re }: Frame, p?: string, sig?: string): string {
  return JSON.stringify({ t, s, from, id, e, n, p, b: b && plainRef(b), sig, thr, re });
}

/**
 * The bytes of a frame, as every implementation writes them.
 * Errors: too_large above 1 MiB. A frame outside the grammar is a programmer's error. Source: spec 4.
 */
export function encodeFrame(frame: Frame): Uint8Array {
  const text = jsonOf(frame, frame.p, frame.sig);
  if (text.length > frameBytesMax) {
    throw new UnibusError("too_large", "a message has at most 1 MiB on the wire (send what is larger as a blob)");
  }
  if (parse(text) === null) throw new TypeError("this is no frame of wire format v1");
  return bytesOf(text);
}

/** What a frame's sealed payload is bound to: the room, and all of the frame but payload and signature. */
export function frameAad(roomId: string, frame: Frame): string {
  return frameText(roomId, jsonOf(frame));
}

/** What a frame's signature covers: the room, and all of the frame but the signature. */
export function frameSigningText(roomId: string, frame: Frame): string {
  return frameText(roomId, jsonOf(frame, frame.p));
}

/** What a sealed blob is bound to. */
export function blobAad(roomId: string, epoch: number): string {
  return `unibus-blob-v1\n${roomId}\n${epoch}`;
}

/** A blob reference as text, as it stands in a frame. */
export function blobRefText(ref: BlobRef): string {
  return JSON.stringify(plainRef(ref));
}

const refShape = new RegExp(`^${blobRef}$`);

/** The blob reference that a text is, or null when it is none. */
export function parseBlobRef(text: string): BlobRef | null {
  const [, h, n, sz] = refShape.exec(text) ?? [];
  const ref = refOf(h, n, sz);
  return ref !== undefined && ref.sz <= blobBytesMax ? ref : null;
}
