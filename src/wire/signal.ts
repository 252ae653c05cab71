/**
 * Signals: typing, presence and read marks, which members send each other and nothing stores.
 *
 * A signal is encrypted with a key derived from the room's, bound to the room, its sender and the epoch; in a room
 * without encryption it is plain. It is not signed: among members who hold one key it is a hint. This file encodes and
 * checks; the caller brings the cipher and the key, and remembers what it has seen. Source: docs/protocol/signals.md.
 */
import { joinBytes, readU32, readU64, u8, u32, u64 } from "../lib/big-endian.ts";
import { bytesOf, toHex } from "./encoding.ts";
import { hkdf } from "./hkdf.ts";
import { endpointPattern, isUlid, signalRoot } from "./names.ts";
import { epochMax } from "./statement.ts";

/** The kinds of signals and their numbers. Fixed. Source: docs/protocol/signals.md. */
export const signalKinds = { typing: 1, stopped: 2, present: 3, idle: 4, bye: 5, read: 6 } as const;

/** The kind of a signal. */
export type SignalKind = keyof typeof signalKinds;

/** A signal is refused if its time differs by more from the receiver's, in milliseconds. */
export const signalSkewMs = 60_000;

const epochBytes = 4;
const nonceBytes = 24;
const bodyAt = 13;
/** The longest payload: a read mark, encrypted. */
const payloadBytesMax = epochBytes + nonceBytes + bodyAt + 26 + 16;

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** A signal. */
export interface Signal {
  /** When it was sent, in milliseconds since 1970. */
  readonly timeMs: number;
  /** Counts the signals of one connection, from 0. Orders those of one millisecond. */
  readonly counter: number;
  readonly kind: SignalKind;
  /** For `read`: the id of the last message that was read. Null for every other kind. */
  readonly messageId: string | null;
}

/** Who signals where. */
export interface SignalPlace {
  readonly roomId: string;
  /** The sender. */
  readonly endpoint: string;
  readonly epoch: number;
}

/** A signal as it arrived, not opened yet. The room and the sender are those of its subject. */
export interface SealedSignal extends SignalPlace {
  /**
   * Identifies it among the signals of its sender. A receiver remembers it for two minutes, which is both directions of
   * `signalSkewMs`, and drops a repeat.
   */
  readonly replayKey: string;
  /** The nonce and the ciphertext; without encryption, the plaintext. */
  readonly sealed: Uint8Array;
}

/** Why a signal is dropped. */
export type SignalFault =
  /** Sealed with another key, or for another room, sender or epoch. */
  | "not_decryptable"
  /** Too short, of an unknown kind, or with a body that its kind does not have. */
  | "not_a_signal"
  /** Its time is more than a minute off the receiver's: held back, repeated, or of a wrong clock. */
  | "stale";

/** Encrypts or decrypts with XChaCha20-Poly1305 (IETF). Decrypting returns null if anything does not match. */
export type SignalCipher<T> = (text: Uint8Array, aad: string, nonce: Uint8Array, key: Uint8Array) => T;

/** The key that encrypts the signals of one epoch, 32 bytes. */
export function signalKey(roomKey: Uint8Array, roomId: string): Uint8Array {
  return hkdf(roomKey, bytesOf(roomId), bytesOf("unibus-signal-v1"));
}

/** The additional data (AAD) of a signal. */
export function signalAad({ roomId, endpoint, epoch }: SignalPlace): string {
  return `${roomId}\n${endpoint}\n${epoch}`;
}

const kindOfNumber = new Map<number, SignalKind>(
  Object.entries(signalKinds).map(([kind, number]) => [number, kind as SignalKind]),
);

/** Encodes a signal before encryption. */
export function encodeSignal({ timeMs, counter, kind, messageId }: Signal): Uint8Array {
  return joinBytes([u64(BigInt(timeMs)), u32(counter), u8(signalKinds[kind]), bytesOf(messageId ?? "")]);
}

/** Decodes a signal after decryption; null if it is not one. */
function decodeSignal(plaintext: Uint8Array): Signal | null {
  if (plaintext.length < bodyAt) return null;
  const kind = kindOfNumber.get(plaintext[bodyAt - 1] ?? 0);
  const body = utf8.decode(plaintext.subarray(bodyAt));
  if (kind === undefined || (kind === "read" ? !isUlid(body) : body !== "")) return null;
  const messageId = kind === "read" ? body : null;
  return { timeMs: Number(readU64(plaintext)), counter: readU32(plaintext, 8), kind, messageId };
}

/**
 * Seals a signal for publishing to `signalSubject`.
 * Shape: `key` is the result of `signalKey` for the epoch, null if the room does not encrypt; `nonce` has 24 bytes,
 * fresh for each signal.
 */
export function sealSignal(
  signal: Signal,
  place: SignalPlace,
  key: Uint8Array | null,
  nonce: Uint8Array,
  encrypt: SignalCipher<Uint8Array>,
): Uint8Array {
  const plaintext = encodeSignal(signal);
  const epoch = u32(place.epoch);
  if (key === null) return joinBytes([epoch, plaintext]);
  return joinBytes([epoch, nonce, encrypt(plaintext, signalAad(place), nonce, key)]);
}

const endpointShape = new RegExp(endpointPattern);

/**
 * Reads what a signal says before it is opened; null if it is not one. Costs no cryptography, so a receiver can apply
 * its limits and look for repeats first.
 */
export function parseSignal(subject: string, payload: Uint8Array): SealedSignal | null {
  const [root, roomId = "", endpoint = "", ...rest] = subject.split(".");
  if (root !== signalRoot || rest.length > 0 || !isUlid(roomId) || !endpointShape.test(endpoint)) return null;
  if (payload.length < epochBytes + bodyAt || payload.length > payloadBytesMax) return null;
  const epoch = readU32(payload);
  if (epoch < 1 || epoch > epochMax) return null;
  const sealed = payload.subarray(epochBytes);
  return { roomId, endpoint, epoch, replayKey: toHex(sealed.subarray(0, nonceBytes)), sealed };
}

/**
 * Opens a signal with the key of its epoch, or returns why it is dropped. Never throws because of its content.
 * Shape: `key` as for `sealSignal`. The caller has checked that the sender is a member in that epoch.
 * Units: `nowMs` in milliseconds since 1970.
 */
export function openSignal(
  { sealed, ...place }: SealedSignal,
  key: Uint8Array | null,
  nowMs: number,
  decrypt: SignalCipher<Uint8Array | null>,
): Signal | SignalFault {
  const plaintext = key === null ? sealed : opened(sealed, signalAad(place), key, decrypt);
  if (plaintext === null) return "not_decryptable";
  const signal = decodeSignal(plaintext);
  if (signal === null) return "not_a_signal";
  return Math.abs(signal.timeMs - nowMs) > signalSkewMs ? "stale" : signal;
}

function opened(
  sealed: Uint8Array,
  aad: string,
  key: Uint8Array,
  decrypt: SignalCipher<Uint8Array | null>,
): Uint8Array | null {
  if (sealed.length < nonceBytes) return null;
  return decrypt(sealed.subarray(nonceBytes), aad, sealed.subarray(0, nonceBytes), key);
}
