/** The blobs of one room: encrypted with its key before upload, and verified after download. */

import { backoffMs } from "../../lib/backoff.ts";
import { free } from "../../lib/free.ts";
import { Mutex } from "../../lib/mutex.ts";
import { blobBytesMax } from "../../wire/api.ts";
import { hasCode, UnibusError } from "../../wire/errors.ts";
import type { BlobRef } from "../../wire/frame.ts";
import { openBlob, sealBlob } from "../crypto/frames.ts";
import { type BlobRoom, type SealedBlob, sealBytes } from "../crypto/sealing.ts";
import type { ControlPlane } from "../transport/control.ts";
import { isPassing } from "../transport/http-reply.ts";
import { pause } from "../transport/wait.ts";
import type { RoomKeys } from "../trust/room-keys.ts";

/** A blob of a room, and the epoch of its key. `putBlob` returns it; `getBlob` takes it or any message with a blob. */
export interface StoredBlob {
  readonly blob: BlobRef;
  readonly epoch: number;
}

/** What may reference a blob, such as a message. */
type NamedBlob = { readonly blob: BlobRef | null; readonly epoch: number };

/** The pauses between attempts of one transfer, and how long they are made, in milliseconds. */
const retryMs = { first: 500, most: 10_000, within: 60_000 } as const;

/** Whether a request that failed may succeed later: no reply, too many requests, or a server that is restarting. */
const mayPass = (error: unknown): error is UnibusError =>
  hasCode(error, "rate_limited") ||
  (hasCode(error, "unavailable") && (isPassing(error) || error.retryAfterS !== undefined || error.cause !== undefined));

/**
 * Makes one of the many requests of a large file, and again while the server cannot be reached or is too busy, for up
 * to a minute. Errors: those of the last attempt; the signal's reason.
 */
export async function persistently<T>(work: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  const endMs = performance.now() + retryMs.within;
  for (let attempt = 0; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      signal?.throwIfAborted();
      if (!mayPass(error)) throw error;
      const waitMs = 1_000 * (error.retryAfterS ?? 0) + backoffMs(attempt, retryMs);
      if (performance.now() + waitMs > endMs) throw error;
      await pause(waitMs, signal);
    }
  }
}

/** Stores and fetches the blobs of one room. */
export class RoomBlobs {
  readonly #opening = new Mutex();

  constructor(
    private readonly roomId: string,
    private readonly keys: RoomKeys,
    readonly control: ControlPlane,
  ) {}

  /** What encrypts the blobs of an epoch. Errors: invalid in an unencrypted room; those of reading its key. */
  async roomOf(epoch: number, signal: AbortSignal | undefined): Promise<BlobRoom> {
    const roomKey = await this.keys.key(epoch, signal);
    if (roomKey !== null) return { roomId: this.roomId, epoch, roomKey };
    throw new UnibusError("invalid", "this room is not encrypted, so it has no blobs (use an encrypted room)");
  }

  /**
   * Encrypts a blob with the key of an epoch and stores it. Errors: too_large, quota; invalid in an unencrypted room.
   */
  async put(plaintext: Uint8Array, epoch: number, signal?: AbortSignal): Promise<StoredBlob> {
    const sealed = await sealBlob(plaintext, await this.roomOf(epoch, signal));
    await this.store(sealed, signal);
    return { blob: sealed.ref, epoch };
  }

  /** Stores an encrypted blob. Errors: too_large, quota. */
  store({ ciphertext, ref }: SealedBlob, signal: AbortSignal | undefined): Promise<void> {
    return this.control.putBlob(ciphertext, ref.h, signal);
  }

  /** Fetches and decrypts the blob of a message. Errors: not_found; invalid if the bytes do not match the reference. */
  async get({ blob, epoch }: NamedBlob, signal?: AbortSignal): Promise<Uint8Array> {
    if (blob === null) throw new UnibusError("not_found", "this message has no blob (choose another message)");
    if (blob.sz < sealBytes)
      throw new UnibusError("invalid", "the sender states a wrong size (ask for the file again)");
    const room = await this.roomOf(epoch, signal);
    // One byte more, so that a longer blob is seen to be a wrong one.
    const ciphertext = await this.control.getBlob(blob.h, signal, Math.min(blob.sz + 1, blobBytesMax));
    // One after another: decryption takes twice the memory, and is much faster than the network.
    const opened = await this.#opening.hold(() => openBlob(ciphertext, blob, room));
    free(ciphertext);
    if (opened instanceof Uint8Array) return opened;
    const what = `the server returned the wrong blob: ${opened.fault}`;
    throw new UnibusError("invalid", `${what} (do not trust it)`);
  }

  /** Ends this peer's claims to blobs, in this order. A claim that it does not have is skipped. */
  async release(hashes: readonly string[], signal: AbortSignal | undefined): Promise<void> {
    for (const hash of hashes) {
      await persistently(() => this.control.releaseBlob(hash, signal), signal).catch((error: unknown) => {
        if (!hasCode(error, "not_found")) throw error;
      });
    }
  }
}
