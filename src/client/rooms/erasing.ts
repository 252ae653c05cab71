/**
 * The server's side of deleting a message: finds the stored frames of a message, erases them, and gives back the blobs
 * that only this message names. `Conversation.delete` notifies the members first.
 */
import { fromBase64, sha256Hex } from "../../wire/encoding.ts";
import { hasCode } from "../../wire/errors.ts";
import { decodeFrame, type Frame, isDropped } from "../../wire/frame.ts";
import { decodeManifest } from "../../wire/parts.ts";
import type { ControlPlane } from "../transport/control.ts";
import type { Message } from "./message.ts";
import type { RoomBlobs } from "./room-blobs.ts";

/** Maximum number of pages of history that one search reads, 1,000 frames each. */
const pagesMax = 64;
/** The maximum number of frames in a page. */
const pageFramesMax = 1_000;
/** A message is searched from this long before the time in its id on: clocks differ. In milliseconds. */
const clockSkewMs = 86_400_000;

/** A message to delete. */
export type Erasable = Pick<Message, "id" | "from" | "timeMs" | "blob" | "epoch" | "header">;

/** What the history has of a message. */
export interface StoredCopies {
  /** The sequence numbers of its frame. Any member can store a copy. */
  readonly seqs: readonly number[];
  /** The hash of the first one, in hex; null if there is none. */
  readonly sha256: string | null;
  /** Whether another message of the same sender names its blob, or that is not known. */
  readonly isBlobShared: boolean;
  /** What its sender sent about it. Only the edits among them, which are encrypted, have its text. */
  readonly about: readonly StoredFrame[];
}

/** A stored frame. */
export interface StoredFrame {
  readonly frame: Frame;
  readonly seq: number;
  /** The hash of the frame as sent, in hex. */
  readonly sha256: string;
}

/** The dependencies of an `Eraser`. */
export interface EraserDeps {
  readonly roomId: string;
  readonly persist: boolean;
  readonly control: ControlPlane;
  readonly blobs: RoomBlobs;
}

/** Erases the stored messages of one room. */
export class Eraser {
  constructor(private readonly deps: EraserDeps) {}

  /** Finds a message in the history. Errors: those of GET history. */
  async find({ id, from, timeMs, blob }: Erasable, signal?: AbortSignal): Promise<StoredCopies> {
    const seqs: number[] = [];
    let sha256: string | null = null;
    let isBlobShared = !this.deps.persist;
    const about: StoredFrame[] = [];
    const take = (frame: Frame, seq: number, bytes: Uint8Array): void => {
      if (frame.from !== from) return;
      if (frame.re === id) about.push({ frame, seq, sha256: sha256Hex(bytes) });
      if (frame.id === id) {
        seqs.push(seq);
        sha256 ??= sha256Hex(bytes);
      } else if (blob !== null && frame.b?.h === blob.h) isBlobShared = true;
    };
    // A blob may be named by an older message, too.
    const since = blob === null ? new Date(Math.max(0, timeMs - clockSkewMs)).toISOString() : null;
    const isWhole = !this.deps.persist || (await this.#scan(since, take, signal));
    return { seqs, sha256, isBlobShared: isBlobShared || !isWhole, about };
  }

  /** Reads the frames since a time, or all of them. Returns whether it reached the end. */
  async #scan(
    since: string | null,
    take: (frame: Frame, seq: number, bytes: Uint8Array) => void,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const { control, roomId } = this.deps;
    let after = 0;
    for (let pages = 0; pages < pagesMax; pages++) {
      const start = pages === 0 && since !== null ? { since } : { after };
      const page = await control.history(roomId, { limit: pageFramesMax, ...start }, signal);
      for (const [index, text] of page.messages.entries()) {
        const bytes = fromBase64(text) ?? new Uint8Array();
        const frame = decodeFrame(bytes);
        if (!isDropped(frame)) take(frame, page.seqs[index] ?? 0, bytes);
      }
      if (!page.more) return true;
      // A server that repeats its pages must not keep the client reading.
      if (page.last_seq <= after) return false;
      after = page.last_seq;
    }
    return false;
  }

  /**
   * Erases stored frames. Returns false in a room of an earlier version, which keeps its messages.
   * Errors: forbidden, rate_limited, unavailable.
   */
  async erase(seqs: readonly number[], signal?: AbortSignal): Promise<boolean> {
    for (const seq of seqs) {
      try {
        await this.deps.control.eraseMessage(this.deps.roomId, seq, signal);
      } catch (error) {
        if (hasCode(error, "conflict")) return false;
        // Another client erased it, or this request was sent twice.
        if (!hasCode(error, "not_found")) throw error;
      }
    }
    return true;
  }

  /** Ends this peer's claims to the blobs of its message: the blob, or the manifest and all parts. */
  async release(message: Erasable, signal?: AbortSignal): Promise<void> {
    const { blob, header } = message;
    if (blob === null) return;
    const { blobs } = this.deps;
    let hashes: readonly string[] = [];
    if (header.parts !== undefined) {
      // Without its manifest the parts are unknown; a manifest that is gone was released before.
      const manifest = await blobs.get(message, signal).catch((error: unknown) => {
        if (hasCode(error, "not_found") || hasCode(error, "invalid")) return null;
        throw error;
      });
      const parts = manifest === null ? null : decodeManifest(manifest, header.parts);
      hashes = (parts ?? []).map(({ h }) => h);
    }
    // The manifest goes last, so that a repeated call finds the rest.
    await blobs.release([...hashes, blob.h], signal);
  }
}
