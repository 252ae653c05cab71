/**
 * Fingerprints: short names for a room or a person that people compare over another channel, and the room links that
 * carry one. A fingerprint is the first 11 bytes of a sha256, written as 22 hex digits or as 8 English BIP39 words (11
 * bits each, no checksum). A room's fingerprint covers its first statement, so it never changes; a person's covers
 * their signing key.
 */
import { wordlist } from "@scure/bip39/wordlists/english.js";
import { baseUrl } from "./address.ts";
import { sha256Hex } from "./encoding.ts";
import { isUlid } from "./names.ts";

/** The size of a fingerprint in hex digits, in words, and the bits of each word. */
const size = { digits: 22, words: 8, wordBits: 11 } as const;

/** A statement with the signer's key (hex) and the signature (base64-std). */
interface SignedStatement {
  readonly text: string;
  readonly by: string;
  readonly sig: string;
}

/**
 * The text that a room's fingerprint hashes. `first` is the room's statement of version 1.
 * Source: docs/protocol/rooms.md.
 */
export function roomFingerprintText({ text, by, sig }: SignedStatement): string {
  return ["unibus-room-fp-v1", text, by, sig].join("\n");
}

/** The text that a person's fingerprint hashes: their signing key in lowercase hex. Source: docs/protocol/rooms.md. */
export function userFingerprintText(signPub: string): string {
  return ["unibus-user-fp-v1", signPub].join("\n");
}

const shorten = (text: string): string => sha256Hex(text).slice(0, size.digits);

/** A room's fingerprint, 22 hex digits, computed from its first statement. Source: docs/protocol/rooms.md. */
export function roomFingerprint(first: SignedStatement): string {
  return shorten(roomFingerprintText(first));
}

/**
 * A person's fingerprint, 22 hex digits, computed from their signing key in lowercase hex.
 * Source: docs/protocol/rooms.md.
 */
export function userFingerprint(signPub: string): string {
  return shorten(userFingerprintText(signPub));
}

const places: ReadonlyMap<string, number> = new Map(wordlist.map((word, place) => [word, place]));

/** Reports whether a text is a fingerprint in lowercase hex. */
export function isFingerprint(text: unknown): text is string {
  return typeof text === "string" && /^[0-9a-f]{22}$/.test(text);
}

/** Formats a fingerprint as 8 words separated by spaces. Shape: `fingerprint` is 22 lowercase hex digits. */
export function fingerprintWords(fingerprint: string): string {
  const bits = BigInt(`0x${fingerprint}`);
  const wordAt = (place: number) => {
    const shift = BigInt((size.words - 1 - place) * size.wordBits);
    return wordlist[Number((bits >> shift) & 0x7ffn)] ?? "";
  };
  return Array.from({ length: size.words }, (_, place) => wordAt(place)).join(" ");
}

/**
 * Parses a fingerprint that a person typed or pasted, as 8 words or as digits. Returns 22 hex digits, or null.
 * Shape: case does not matter, and words may be separated by spaces, commas, dots or dashes.
 */
export function parseFingerprint(text: string): string | null {
  const parts = text
    .normalize("NFKD")
    .toLowerCase()
    .split(/[\s,.;-]+/)
    .filter(Boolean);
  const joined = parts.join("");
  if (isFingerprint(joined)) return joined;
  if (parts.length !== size.words) return null;
  let bits = 0n;
  for (const word of parts) {
    const place = places.get(word);
    if (place === undefined) return null;
    bits = (bits << BigInt(size.wordBits)) | BigInt(place);
  }
  return bits.toString(16).padStart(size.digits, "0");
}

/** The contents of a room link. */
export interface RoomLink {
  /** The address of the bus that created the link. The client still looks up the room on the bus it is connected to. */
  readonly url: string;
  readonly roomId: string;
  /** 22 lowercase hex digits. */
  readonly fingerprint: string;
}

/** Formats the link to a room: `<public_url>/room#<room_id>.<fingerprint>`. Source: docs/protocol/rooms.md. */
export function roomLink({ url, roomId, fingerprint }: RoomLink): string {
  return `${url.replace(/\/+$/, "")}/room#${roomId}.${fingerprint}`;
}

/** Reports whether a text looks like a room link, valid or damaged, rather than a room's id or subject. */
export function looksLikeRoomLink(text: string): boolean {
  return text.includes("/room") || text.includes("://");
}

/** Characters that chat programs and people leave around a link, and that are never part of one. */
const around = /^[\s<>()[\]{}"'`\u200b\ufeff]+|[\s<>()[\]{}"'`.,;:!?\u200b\ufeff]+$/g;

/** Parses a room link as people paste it. Returns null if it is not one. */
export function parseRoomLink(text: string): RoomLink | null {
  const link = text.replace(around, "");
  const [, base = "", id = "", digits = ""] = /^(\S+)\/room(?:#|%23)(\w{26})\.([0-9a-f]{22})$/i.exec(link) ?? [];
  const [url, roomId] = [baseUrl(base), id.toUpperCase()];
  return url === null || !isUlid(roomId) ? null : { url, roomId, fingerprint: digits.toLowerCase() };
}
