import { decryptBytes, encryptBytes } from "#aead";
import { blobBytesMax } from "../../wire/api.ts";
import { bytesOf, sha256Hex, toBase64 } from "../../wire/encoding.ts";
import { UnibusError } from "../../wire/errors.ts";
import * as wire from "../../wire/frame.ts";
import type { Policy } from "../../wire/statement.ts";
import { webCryptoAead } from "./aead-webcrypto.ts";
import type { Identity } from "./identity.ts";

/** The nonce size of XChaCha20-Poly1305 (IETF), in bytes. */
export const nonceBytes = 24;

/** The overhead of a ciphertext, in bytes. */
export const sealBytes = 16;

/** The content of a frame that is not sealed yet. */
export interface Draft {
  /** New for each frame. */
  readonly id: string;
  /** Default: a publish. */
  readonly t?: wire.FrameType;
  readonly payload?: Uint8Array | undefined;
  readonly b?: wire.BlobRef | undefined;
  readonly thr?: string | undefined;
  readonly re?: string | undefined;
}

/** The room that a frame is for, according to its newest statement. */
export interface SendingRoom {
  readonly roomId: string;
  readonly subject: string;
  readonly policy: Policy;
  readonly epoch: number;
  /** The key of that epoch, 32 bytes; null if the room does not encrypt. */
  readonly roomKey: Uint8Array | null;
}

/** The room and epoch whose key encrypts a blob. */
export interface BlobRoom {
  readonly roomId: string;
  readonly epoch: number;
  readonly roomKey: Uint8Array;
}

/** An encrypted blob, and the reference that opens it. */
export interface SealedBlob {
  readonly ciphertext: Uint8Array;
  readonly ref: wire.BlobRef;
}

/** Encrypts with XChaCha20-Poly1305 (IETF). Never reuse a nonce: a second text under the same nonce reveals both. */
export function encrypt(plaintext: Uint8Array, aad: string, nonce: Uint8Array, key: Uint8Array): Uint8Array {
  return encryptBytes(plaintext, bytesOf(aad), nonce, key);
}

/** Decrypts; null if the key, nonce, additional data or ciphertext does not match. */
export function decrypt(ciphertext: Uint8Array, aad: string, nonce: Uint8Array, key: Uint8Array): Uint8Array | null {
  try {
    return decryptBytes(ciphertext, bytesOf(aad), nonce, key);
  } catch {
    return null;
  }
}

/**
 * `sealFrame` with a given nonce, which must not be reused. Outside `frames.ts`, only the test vectors call it.
 * Errors: those of `sealFrame`.
 */
export async function sealFrameUnder(
  nonce: Uint8Array,
  draft: Draft,
  room: SendingRoom,
  identity: Identity,
): Promise<Uint8Array> {
  const { id, t = wire.frameTypes.PUB, payload = new Uint8Array(), b, thr, re } = draft;
  const { roomId, policy } = room;
  const plain: wire.Frame = { t, s: room.subject, from: identity.endpoint, id, e: room.epoch, b, thr, re };
  let frame = plain;
  if (policy.encrypt) {
    if (room.roomKey === null) throw new TypeError("an encrypted room needs a room key");
    const bound = { ...plain, n: toBase64(nonce) };
    frame = { ...bound, p: toBase64(encrypt(payload, wire.frameAad(roomId, bound), nonce, room.roomKey)) };
  } else if (payload.length > 0) frame = { ...plain, p: toBase64(payload) };
  if (!policy.sign_msgs) return wire.encodeFrame(frame);
  const sig = await identity.sign(wire.frameSigningText(roomId, frame));
  return wire.encodeFrame({ ...frame, sig: toBase64(sig) });
}

/**
 * `sealBlob` with a given nonce, which must not be reused. Outside `frames.ts`, only the test vectors call it, and a
 * download that checks what it has of a blob. Errors: those of `sealBlob`.
 */
export async function sealBlobUnder(nonce: Uint8Array, plaintext: Uint8Array, room: BlobRoom): Promise<SealedBlob> {
  if (plaintext.length > blobBytesMax - sealBytes) {
    throw new UnibusError("too_large", "blob exceeds 16 MiB (send it in parts)");
  }
  const aad = wire.blobAad(room.roomId, room.epoch);
  const native = await webCryptoAead("encrypt", plaintext, bytesOf(aad), nonce, room.roomKey);
  const ciphertext = native ?? encrypt(plaintext, aad, nonce, room.roomKey);
  return { ciphertext, ref: { h: sha256Hex(ciphertext), n: toBase64(nonce), sz: ciphertext.length } };
}

/** Decrypts a blob; null if the key, nonce, room, epoch or ciphertext does not match. */
export async function decryptBlob(
  ciphertext: Uint8Array,
  nonce: Uint8Array,
  { roomId, epoch, roomKey }: BlobRoom,
): Promise<Uint8Array | null> {
  const aad = wire.blobAad(roomId, epoch);
  const native = await webCryptoAead("decrypt", ciphertext, bytesOf(aad), nonce, roomKey);
  return native === undefined ? decrypt(ciphertext, aad, nonce, roomKey) : native;
}
