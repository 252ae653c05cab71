/**
 * Names and their formats: subjects, endpoint ids, NATS nkeys, and the streams, consumers and buckets of JetStream.
 * Server and client both derive them here, so the two sides always agree. Names marked "Fixed" never change: data on
 * disk and other implementations depend on them.
 */
import { sha256 } from "#bytes";
import { fromBase32, toBase32 } from "../lib/base32.ts";
import { fromHex, toBase64Url } from "./encoding.ts";

/** The namespaces that every bus has. The configuration may add more. Source: docs/protocol/rooms.md. */
export const builtinNamespaces = ["proc", "rpc", "room", "agent"] as const;

/** The longest subject, in characters. Source: docs/protocol/rooms.md. */
export const subjectLengthMax = 200;

/** The first token of every subject that a durable delivers to. Source: docs/protocol/durables.md. */
export const deliverRoot = "_DELIVER";

/** The first token of every subject that carries signals. Fixed. Source: docs/protocol/logins.md. */
export const signalRoot = "_SIG";

/** First tokens that are reserved for NATS or unibus and never become a namespace. Source: docs/protocol/limits.md. */
export const reservedNamespaces = ["unibus", "_INBOX", deliverRoot, signalRoot, "_R_"] as const;

/** The longest handle, in characters (code points) of its normal form. Source: docs/protocol/identity.md. */
export const handleLengthMax = 64;

/** The pattern of one token of a subject. Source: docs/protocol/rooms.md. */
export const subjectTokenPattern = "[A-Za-z0-9_-]+";

const token = new RegExp(`^${subjectTokenPattern}$`);

/**
 * The pattern of a ULID, which identifies rooms and frames: Crockford base32, 48 bits of time, then random bits.
 * Source: docs/protocol/frames.md.
 */
export const ulidPattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$";

const ulidShape = new RegExp(ulidPattern);

/** The pattern of an endpoint id: base64url of a sha256. */
export const endpointPattern = "^[A-Za-z0-9_-]{43}$";

/** The pattern of a key in a request body: hex of 32 bytes, in either case. */
export const keyPattern = "^[0-9a-fA-F]{64}$";

/** The pattern of a device name of a durable. Source: docs/protocol/durables.md. */
export const devicePattern = "^[a-z0-9]{1,16}$";

/** Reports whether a text is a ULID. */
export function isUlid(text: string): boolean {
  return ulidShape.test(text);
}

/**
 * The endpoint id of an Ed25519 public key. Fixed.
 * Shape: 43 characters, base64url without padding of sha256(key). Source: docs/protocol/identity.md.
 */
export function endpointId(signPub: Uint8Array | string): string {
  return toBase64Url(sha256(typeof signPub === "string" ? keyBytes(signPub) : signPub));
}

/** A user's key as it is stored: lowercase. Source: docs/protocol/identity.md. */
export function normalKey(key: string): string {
  return key.toLowerCase();
}

/**
 * The 32 bytes of a key in hex. The caller must have validated it: anything else is a programming error (TypeError).
 */
export function keyBytes(key: string): Uint8Array {
  const bytes = fromHex(key);
  if (bytes?.length !== 32) throw new TypeError("a key must have 64 hex digits");
  return bytes;
}

const nkeyUserPrefix = 20 << 3;
const nkeySeedPrefix = 18 << 3;

function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  }
  return crc & 0xffff;
}

function encodeNkey(prefix: readonly number[], key: Uint8Array): string {
  const raw = new Uint8Array(prefix.length + key.length + 2);
  raw.set(prefix);
  raw.set(key, prefix.length);
  const end = raw.length - 2;
  new DataView(raw.buffer).setUint16(end, crc16(raw.subarray(0, end)), true);
  return toBase32(raw);
}

/** The NATS user nkey (`U...`) of an Ed25519 public key. Fixed. Source: docs/protocol/identity.md. */
export function userNkey(signPub: Uint8Array): string {
  return encodeNkey([nkeyUserPrefix], signPub);
}

/** The seed of a NATS user nkey (`SU...`), as stock NATS tools read it from a file. It is the private key. */
export function userNkeySeed(signSeed: Uint8Array): string {
  return encodeNkey([nkeySeedPrefix | (nkeyUserPrefix >> 5), (nkeyUserPrefix & 31) << 3], signSeed);
}

/** The NATS account nkey (`A...`) of an Ed25519 public key: the account that signs the answers of the auth callout. */
export function accountNkey(signPub: Uint8Array): string {
  return encodeNkey([0], signPub);
}

/** The Ed25519 public key of a NATS user nkey. Returns null if the text is not one. */
export function keyOfUserNkey(nkey: string): Uint8Array | null {
  if (!/^U[A-Z2-7]{55}$/.test(nkey)) return null;
  const key = fromBase32(nkey)?.slice(1, 33) ?? null;
  return key !== null && userNkey(key) === nkey ? key : null;
}

/** Checks whether a subject may name a room. Returns the reason why not, or null. Source: docs/protocol/rooms.md. */
export function subjectFault(subject: string, namespaces: readonly string[]): string | null {
  if (subject.length > subjectLengthMax) return `a subject must have at most ${subjectLengthMax} characters`;
  const tokens = subject.split(".");
  if (tokens.length < 2) return "a subject must have at least two tokens, as in room.general";
  if (!tokens.every((part) => token.test(part))) return "each token of a subject must match [A-Za-z0-9_-]+";
  if (!namespaces.includes(tokens[0] ?? "")) return `a subject must begin with one of ${namespaces.join(", ")}`;
  return null;
}

/** Checks whether a namespace may be added. Returns the reason why not, or null. */
export function namespaceFault(namespace: string): string | null {
  if (!token.test(namespace)) return "a namespace must match [A-Za-z0-9_-]+";
  if (namespace.startsWith("_") || (reservedNamespaces as readonly string[]).includes(namespace)) {
    return "names that begin with _ and the name unibus are reserved";
  }
  return null;
}

/** Replaces every character that is special in JetStream names. */
export function sanitize(name: string): string {
  return name.replace(/[^A-Za-z0-9_]/g, "_");
}

/** The JetStream stream of a persisted room. Fixed. Source: docs/protocol/history.md. */
export function streamName(roomId: string): string {
  return `UNIBUS_${sanitize(roomId)}`;
}

/** The device name of a durable if none is given. Source: docs/protocol/durables.md. */
export const mainDevice = "main";

/** The push consumer of one member's device in a persisted room. Source: docs/protocol/durables.md. */
export function consumerName(roomId: string, endpoint: string, device: string = mainDevice): string {
  const name = `${sanitize(roomId)}_${sanitize(endpoint)}`;
  return device === mainDevice ? name : `${name}_${device}`;
}

/** The subject that a durable delivers to. Source: docs/protocol/durables.md. */
export function deliverSubject(endpoint: string, roomId: string, device: string): string {
  return `${deliverRoot}.${endpoint}.${roomId}.${device}`;
}

/** The subject of one member's signals in a room. Fixed. Source: docs/protocol/logins.md. */
export function signalSubject(roomId: string, endpoint: string): string {
  return `${signalRoot}.${roomId}.${endpoint}`;
}

/**
 * The link that hands over an invite's token. The token is in the fragment, so it never reaches a server log.
 * Source: docs/protocol/identity.md.
 */
export function joinLink(url: string, token: string): string {
  return `${url}/join#${token}`;
}

/** The subject of a notice to one user. Source: docs/protocol/notices.md. */
export function noticeSubject(endpoint: string, kind: string): string {
  return `unibus.user.${endpoint}.${kind}`;
}

/** The subject on which nodes are asked to disconnect a user. Users may neither publish nor subscribe to it. */
export function disconnectSubject(endpoint: string): string {
  return `unibus.disconnect.${endpoint}`;
}

/** The key-value buckets of the replicated control plane. Fixed. */
export const buckets = {
  rooms: "UNIBUS_rooms",
  members: "UNIBUS_members",
  roomsByMember: "UNIBUS_rooms_by_member",
  roomKeys: "UNIBUS_room_keys",
  users: "UNIBUS_users",
  invites: "UNIBUS_invites",
  nonces: "UNIBUS_nonces",
} as const;

/** The JetStream stream behind a key-value bucket. */
export function bucketStream(bucket: string): string {
  return `KV_${bucket}`;
}

/** The object store that holds the blobs of a cluster. Fixed. */
export const blobBucket = "UNIBUS_blobs";

/** The JetStream stream behind an object store. */
export function objectStream(bucket: string): string {
  return `OBJ_${bucket}`;
}
