import { isUnibusError } from "../wire/errors.ts";
import type { ControlPlane } from "./control.ts";
import { pagesAfter } from "./history-pages.ts";
import type { LiveMessage } from "./line.ts";
import type { Received, Receiver } from "./receiver.ts";
import { pause } from "./wait.ts";

/** What came live and is not told yet, at most: messages and bytes. */
const queued = { messagesMax: 10_000, bytesMax: 64 * 1_048_576 } as const;
/** After so many live frames the place in the room's stream is read anew. */
const frameCountPerMark = 8_192;
/** Pauses between attempts to fill a gap, in milliseconds. */
const retryMs = { first: 100, most: 5_000 } as const;

/** A frame as the tail tells it, with where its answer is awaited. */
export interface Told {
  readonly received: Received;
  readonly reply: string | undefined;
}

/** Why something was missed for good: the connection was away, it came too fast, or it could not be read. */
export type Lost = "gap" | "overflow" | "unreadable";

/** What a tail needs. */
export interface TailParts {
  readonly roomId: string;
  readonly persist: boolean;
  readonly receiver: Receiver;
  readonly control: ControlPlane;
  readonly signal: AbortSignal;
  /** Told each frame once, in order. */
  readonly onTold: (told: Told) => void;
  /** Told that something was missed which nothing brings back, and why. */
  readonly onLost: (why: Lost) => void;
  /** Told of what goes wrong and mends itself. */
  readonly onTrouble: (error: unknown) => void;
}

interface Queued {
  readonly bytes: number;
  readonly opening: Promise<Received | null>;
  readonly reply: string | undefined;
}

/**
 * What a room says from now on: each frame once, in order, whatever happens to the connection. Where the room is kept,
 * what a break or a full queue left out is read from its history, while what comes live waits.
 */
export class Tail {
  readonly #queue: Queued[] = [];
  #bytes = 0;
  /** Everything up to `safe` was told; what is behind `next` came live before that was read. */
  #mark = { safe: 0, next: 0 };
  #sinceMark = 0;
  #isPumping = false;
  /** Whether history is to be read before the queue goes on. */
  #isTorn = false;
  #isMarking = false;

  constructor(private readonly parts: TailParts) {}

  /** Begins after the newest frame of the moment: when live frames come already. Errors: those of GET history. */
  async begin(): Promise<void> {
    if (!this.parts.persist) return;
    const { control, roomId, signal } = this.parts;
    const { last_seq } = await control.history(roomId, { limit: 1 }, signal);
    this.#mark = { safe: last_seq, next: last_seq };
  }

  /** Takes what came live. */
  take({ data, reply }: LiveMessage): void {
    if (this.#queue.length >= queued.messagesMax || this.#bytes + data.length > queued.bytesMax) {
      if (this.parts.persist) this.#isTorn = true;
      else this.parts.onLost("overflow");
      return;
    }
    const opening = this.parts.receiver.open(data, "live");
    // Looked at when its turn comes.
    opening.catch(() => undefined);
    this.#queue.push({ bytes: data.length, opening, reply });
    this.#bytes += data.length;
    void this.#pump();
  }

  /** The connection was away: what was said meanwhile did not come. */
  gap(): void {
    if (this.parts.persist) {
      this.#isTorn = true;
      void this.#pump();
    } else this.parts.onLost("gap");
  }

  async #pump(): Promise<void> {
    if (this.#isPumping) return;
    this.#isPumping = true;
    try {
      while (!this.parts.signal.aborted) {
        if (this.#isTorn) await this.#mend();
        const next = this.#queue.shift();
        if (next === undefined) break;
        this.#bytes -= next.bytes;
        await this.#tell(next);
      }
    } finally {
      this.#isPumping = false;
    }
  }

  async #tell({ opening, reply }: Queued): Promise<void> {
    let received: Received | null;
    try {
      received = await opening;
    } catch (error) {
      this.parts.onTrouble(error);
      // It can be read again from where it is kept; a room that was given up says nothing more.
      if (isUnibusError(error) && error.code === "room_forked") return;
      if (this.parts.persist) this.#isTorn = true;
      else this.parts.onLost("unreadable");
      return;
    }
    if (received === null) return;
    if (this.parts.receiver.isRepeat(received.frame)) return this.parts.receiver.drop("repeat");
    this.parts.onTold({ received, reply });
    this.#sinceMark += 1;
    if (this.parts.persist && this.#sinceMark >= frameCountPerMark) void this.#advance();
  }

  /** Reads what was missed, until it could be read. */
  async #mend(): Promise<void> {
    const { control, roomId, signal, onTrouble } = this.parts;
    for (let attempt = 0; !signal.aborted; attempt++) {
      this.#isTorn = false;
      try {
        for await (const { frames, upTo } of pagesAfter(control, roomId, this.#mark.safe, signal)) {
          await this.#tellKept(frames);
          this.#mark = { safe: upTo, next: upTo };
        }
        return;
      } catch (error) {
        if (signal.aborted) return;
        onTrouble(error);
        if (isUnibusError(error) && ["room_forked", "gone", "forbidden", "not_found"].includes(error.code)) return;
      }
      await pause(Math.random() * Math.min(retryMs.most, retryMs.first * 2 ** attempt), signal).catch(() => undefined);
    }
  }

  async #tellKept(frames: readonly Uint8Array[]): Promise<void> {
    const { receiver } = this.parts;
    const all = await Promise.all(frames.map((bytes) => receiver.open(bytes, "history")));
    for (const received of all) {
      if (received !== null && !receiver.isRepeat(received.frame)) this.parts.onTold({ received, reply: undefined });
    }
  }

  /**
   * Moves the place from which a gap would be read. Frames that are stored may still be on their way to this peer: so
   * only what was stored before the last look counts as told.
   */
  async #advance(): Promise<void> {
    if (this.#isMarking) return;
    this.#isMarking = true;
    try {
      const { control, roomId, signal } = this.parts;
      const { last_seq } = await control.history(roomId, { limit: 1 }, signal);
      if (!this.#isTorn) this.#mark = { safe: Math.max(this.#mark.safe, this.#mark.next), next: last_seq };
      this.#sinceMark = 0;
    } catch (error) {
      this.parts.onTrouble(error);
    } finally {
      this.#isMarking = false;
    }
  }
}
