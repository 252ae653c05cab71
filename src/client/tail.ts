import { isUnibusError } from "../wire/errors.ts";
import { decodeFrame, type Frame, isDropped } from "../wire/frame.ts";
import type { ControlPlane } from "./control.ts";
import { framesOf, pagesAfter } from "./history-pages.ts";
import type { LiveMessage } from "./line.ts";
import type { Received, Receiver } from "./receiver.ts";
import { pause } from "./wait.ts";

/** What came live and is not told yet, at most: messages and bytes. */
const queued = { messagesMax: 10_000, bytesMax: 64 * 1_048_576 } as const;
/** After so many live frames the place in the room's stream is looked at anew. */
const frameCountPerLook = 2_048;
/** Pauses between attempts to fill a gap, in milliseconds. */
const retryMs = { first: 100, most: 5_000 } as const;
/**
 * Peers may hear a message before it is stored: for so long history is read again until it has what came live after,
 * with this pause, in milliseconds.
 */
export const settle = { withinMs: 2_000, pauseMs: 20 } as const;

/** A frame as the tail tells it, with where its answer is awaited. */
export interface Told {
  readonly received: Received;
  readonly reply: string | undefined;
  /** Everything in the room's stream up to this sequence was told before. */
  readonly upTo: number;
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
  /** Everything up to `safe` was told, and up to `next`, too, unless it is still on its way here. */
  #mark = { safe: 0, next: 0 };
  /** The newest frame when the room's stream was last looked at. */
  #look: { readonly seq: number; readonly frame: Frame } | null = null;
  #sinceLook = 0;
  #isLooking = false;
  #isBegun = false;
  #isAway = false;
  #isPumping = false;
  /** Whether history is to be read before the queue goes on, and how often that came to be. */
  #isTorn = false;
  #tears = 0;
  /** The first frame that came live after that, by a sound connection: when history has it, it has all before. */
  #firstAfter: Frame | null = null;
  /** The newest connection by which something came, and the first that is sound: not the one that broke, nor older. */
  #connection = { newest: 0, soundFrom: 0 };
  /** Wakes who waits for that. */
  #onFirstAfter: () => void = () => undefined;

  constructor(private readonly parts: TailParts) {}

  /** Everything in the room's stream up to this sequence was told; zero in a room that is not kept. */
  get toldUpTo(): number {
    return this.#mark.safe;
  }

  /** Begins after the newest frame of the moment: when live frames come already. Errors: those of GET history. */
  async begin(): Promise<void> {
    if (this.parts.persist) {
      const { control, roomId, signal } = this.parts;
      const { last_seq } = await control.history(roomId, { limit: 1 }, signal);
      this.#mark = { safe: last_seq, next: last_seq };
    }
    this.#isBegun = true;
    void this.#pump();
  }

  /** Takes what came live. */
  take({ data, reply, connection }: LiveMessage): void {
    this.#connection.newest = Math.max(this.#connection.newest, connection);
    if (this.#queue.length >= queued.messagesMax || this.#bytes + data.length > queued.bytesMax) {
      this.#tear("overflow");
      return;
    }
    // Some may come by the next connection before it is known to be there.
    const isSound = connection >= this.#connection.soundFrom;
    if (this.#isTorn && isSound && this.#firstAfter === null) this.#noteFirst(data);
    const opening = this.parts.receiver.open(data, "live");
    // Looked at when its turn comes.
    opening.catch(() => undefined);
    this.#queue.push({ bytes: data.length, opening, reply });
    this.#bytes += data.length;
    void this.#pump();
  }

  /** The connection is away: what comes until it is `back` waits until that is known which did not come. */
  away(): void {
    this.#isAway = true;
    this.#connection.soundFrom = this.#connection.newest + 1;
    if (this.parts.persist) this.#tear("gap");
  }

  /** The connection is there again. */
  back(): void {
    if (!this.#isAway) return;
    this.#isAway = false;
    if (!this.parts.persist) this.#tear("gap");
    void this.#pump();
  }

  /** Something may not have come, although the connection is there. */
  gap(): void {
    this.#tear("gap");
    void this.#pump();
  }

  /** Something is missed: it is read from where it is kept, or lost. */
  #tear(why: Lost): void {
    if (this.parts.persist) {
      this.#isTorn = true;
      this.#tears += 1;
      this.#firstAfter = null;
    } else this.parts.onLost(why);
  }

  /** A second copy of what was told before says nothing of where the stream is. */
  #noteFirst(data: Uint8Array): void {
    const frame = decodeFrame(data);
    if (isDropped(frame) || this.parts.receiver.knows(frame)) return;
    this.#firstAfter = frame;
    this.#onFirstAfter();
  }

  get #isHeld(): boolean {
    return !this.#isBegun || (this.#isAway && this.parts.persist);
  }

  async #pump(): Promise<void> {
    if (this.#isPumping) return;
    this.#isPumping = true;
    try {
      while (!this.parts.signal.aborted && !this.#isHeld) {
        if (this.#isTorn) await this.#mend();
        if (this.#isTorn) continue;
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
      return this.#tear("unreadable");
    }
    if (received === null) return;
    if (this.parts.receiver.isRepeat(received.frame)) return this.parts.receiver.drop("repeat");
    this.parts.onTold({ received, reply, upTo: this.#mark.safe });
    this.#sinceLook += 1;
    if (this.parts.persist && this.#sinceLook >= frameCountPerLook) void this.#advance();
  }

  /** Reads what was missed, until it could be read. It stays torn when the connection goes meanwhile. */
  async #mend(): Promise<void> {
    const { signal } = this.parts;
    for (let attempt = 0; this.#isTorn && !signal.aborted && !this.#isHeld; attempt++) {
      try {
        await this.#readOn(this.#tears);
      } catch (error) {
        await mended(error, attempt, this.parts).catch(() => {
          this.#isTorn = false;
        });
      }
    }
  }

  /** Tells what is stored until it holds what came live after the hole, or another hole is there. */
  async #readOn(tear: number): Promise<void> {
    const { control, roomId, signal, receiver } = this.parts;
    const endMs = performance.now() + settle.withinMs;
    while (this.#tears === tear) {
      for await (const { frames, upTo } of pagesAfter(control, roomId, this.#mark.safe, signal)) {
        await this.#tellKept(frames);
        this.#mark = { safe: upTo, next: upTo };
        this.#look = null;
      }
      const leftMs = endMs - performance.now();
      const isJoined = this.#firstAfter !== null && receiver.knows(this.#firstAfter);
      if (leftMs > 0 && !isJoined) await this.#settle(leftMs);
      else if (this.#tears === tear) {
        this.#isTorn = false;
        return;
      }
    }
  }

  /** Waits a moment, and before that, where nothing has come yet, until something comes. */
  async #settle(withinMs: number): Promise<void> {
    const { signal } = this.parts;
    if (this.#firstAfter === null) {
      const came = new Promise<void>((resolve) => {
        this.#onFirstAfter = resolve;
      });
      await Promise.race([came, pause(withinMs, signal)]);
    }
    await pause(settle.pauseMs, signal);
  }

  async #tellKept(frames: readonly Uint8Array[]): Promise<void> {
    const { receiver, onTold } = this.parts;
    // What was told before need not be opened again.
    const fresh = frames.filter((bytes) => {
      const frame = decodeFrame(bytes);
      return isDropped(frame) || !receiver.knows(frame);
    });
    const all = await Promise.all(fresh.map((bytes) => receiver.open(bytes, "history")));
    for (const received of all) {
      if (received !== null && !receiver.isRepeat(received.frame))
        onTold({ received, reply: undefined, upTo: this.#mark.safe });
    }
  }

  /**
   * Moves the place from which a gap would be read. What is stored may still be on its way here, however long: so a
   * look counts when its newest frame was told, and then for what the look before it found, because frames of several
   * senders are not stored in the very order in which they come.
   */
  async #advance(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    this.#sinceLook = 0;
    const { control, roomId, signal, receiver, onTrouble } = this.parts;
    try {
      const seen = this.#look;
      if (seen !== null && receiver.knows(seen.frame)) this.#mark = { safe: this.#mark.next, next: seen.seq };
      const { last_seq: seq, messages } = await control.history(roomId, { limit: 1 }, signal);
      const frame = decodeFrame(framesOf(messages)[0] ?? new Uint8Array());
      if (!this.#isTorn) this.#look = isDropped(frame) ? null : { seq, frame };
    } catch (error) {
      if (!signal.aborted) onTrouble(error);
    } finally {
      this.#isLooking = false;
    }
  }
}

/** After these errors there is nothing more to read. */
const isOver: ReadonlySet<string> = new Set(["room_forked", "gone", "forbidden", "not_found"]);

/** Tells of what went wrong with a read and waits before the next. Errors: those after which there is none. */
export async function mended(
  error: unknown,
  attempt: number,
  { signal, onTrouble }: Pick<TailParts, "signal" | "onTrouble">,
): Promise<void> {
  signal.throwIfAborted();
  onTrouble(error);
  if (isUnibusError(error) && isOver.has(error.code)) throw error;
  await pause(Math.random() * Math.min(retryMs.most, retryMs.first * 2 ** Math.min(attempt, 10)), signal);
}
