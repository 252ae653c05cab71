/**
 * The live subscription of one room, which survives outages: delivers each frame once, in order.
 *
 * Live frames wait in a bounded queue. An outage or an overflow causes a gap. In a room with history, the gap is filled
 * from the history before the queue goes on; in other rooms it is reported as `lost`. To bound what a gap reads, the
 * subscription tracks the sequence number up to which everything was delivered. Used by `RoomReader`, one for each
 * room.
 */
import { backoffMs } from "../../lib/backoff.ts";
import { isUnibusError } from "../../wire/errors.ts";
import { type Dropped, type Frame, isDropped } from "../../wire/frame.ts";
import type { ControlPlane } from "../transport/control.ts";
import type { LiveMessage } from "../transport/live-message.ts";
import { pause } from "../transport/wait.ts";
import { framesOf, type Page, pagesAfter } from "./history-pages.ts";
import type { Received, Receiver } from "./receiver.ts";

/** Limits of live messages that are not delivered yet. */
const queued = { messagesMax: 10_000, bytesMax: 64 * 1_048_576 } as const;
/** After this number of live frames, the position in the room's stream is read again. */
const frameCountPerLook = 2_048;
/** Backoff between attempts to fill a gap, in milliseconds. */
const retryMs = { first: 100, most: 5_000 } as const;
/**
 * A live message may arrive before the stream has stored it. After a gap, the history is read again, with this pause,
 * until it contains the first live message after the gap. It may never contain it, so the client gives up once this
 * time has passed and this number of reads was made: where a read is slow, time alone would be too few of them.
 */
export const settle = { withinMs: 2_000, readsMin: 10, pauseMs: 20 } as const;

/** A delivered frame, with its reply subject. */
export interface DeliveredFrame {
  readonly received: Received;
  readonly reply: string | undefined;
  /** Its position in the order of delivery. */
  readonly position: number;
  /** Everything in the room's stream up to this sequence number was delivered before; zero while that is not known. */
  readonly upTo: number;
}

/** Why messages were lost for good: an outage, an overflow, or a frame that could not be read. */
export type Lost = "gap" | "overflow" | "unreadable";

/** The dependencies of a `RoomSubscription`. */
export interface RoomSubscriptionDeps {
  readonly roomId: string;
  readonly persist: boolean;
  readonly receiver: Receiver;
  readonly control: ControlPlane;
  readonly signal: AbortSignal;
  /** Called once for each frame, in order. */
  readonly onDelivered: (delivered: DeliveredFrame) => void;
  /** Called when messages were lost that cannot be recovered. */
  readonly onLost: (why: Lost) => void;
  /** Called with errors from which the subscription recovers by itself. */
  readonly onTrouble: (error: unknown) => void;
}

interface Queued {
  readonly bytes: number;
  readonly opening: Promise<Received | null>;
  readonly reply: string | undefined;
}

/**
 * The new frames of a room: each once, in order, whatever happens to the connection. In a room with history, frames
 * missed in an outage or an overflow are read from the history while live frames wait.
 */
export class RoomSubscription {
  readonly #queue: Queued[] = [];
  #bytes = 0;
  /** Everything up to `safe` was delivered; everything up to `next`, too, except frames still on their way here. */
  #mark = { safe: 0, next: 0 };
  /** Where it began: live frames up to there may still wait in the queue, if they arrived before that was known. */
  #begunAt = 0;
  /** The newest frame when the stream's position was last read. */
  #look: { readonly seq: number; readonly frame: Frame } | null = null;
  #sinceLook = 0;
  #isLooking = false;
  #isBegun = false;
  #isAway = false;
  #isPumping = false;
  /** Whether there is a gap to fill before the queue goes on, and how many gaps there were. */
  #isTorn = false;
  /** How many messages in the queue came before the gap. They are delivered before it is filled. */
  #beforeGap = 0;
  #tears = 0;
  /** The first live frame after the gap, from a sound connection. Once the history contains it, the gap is filled. */
  #firstAfter: Frame | null = null;
  /** The newest connection that delivered a message, and the first sound one: newer than the one that broke. */
  #connection = { newest: 0, soundFrom: 0 };
  /** Wakes the waiter for `#firstAfter`. */
  #onFirstAfter: () => void = () => undefined;

  constructor(private readonly deps: RoomSubscriptionDeps) {}

  /** Everything in the room's stream up to this sequence number was delivered; zero in a room without history. */
  get deliveredUpTo(): number {
    return this.#mark.safe;
  }

  /** No frame up to this sequence number is delivered from now on; zero while that is not known. */
  get #completeUpTo(): number {
    return this.#mark.safe > this.#begunAt ? this.#mark.safe : 0;
  }

  /** Starts after the newest stored frame. Call it once live frames arrive. Errors: those of GET history. */
  async begin(): Promise<void> {
    if (this.deps.persist) {
      const { control, roomId, signal } = this.deps;
      const { last_seq } = await control.history(roomId, { limit: 1 }, signal);
      this.#mark = { safe: last_seq, next: last_seq };
      this.#begunAt = last_seq;
    }
    this.#isBegun = true;
    void this.#pump();
  }

  /** Handles a live message. */
  take({ data, frame, reply, connection }: LiveMessage): void {
    this.#connection.newest = Math.max(this.#connection.newest, connection);
    if (this.#queue.length >= queued.messagesMax || this.#bytes + data.length > queued.bytesMax) {
      this.#tear("overflow");
      return;
    }
    // The next connection may deliver messages before `back` is called.
    const isSound = connection >= this.#connection.soundFrom;
    if (this.#isTorn && isSound && this.#firstAfter === null) this.#noteFirst(frame);
    const opening = this.deps.receiver.open(frame, "live");
    // An error is handled when the message's turn comes.
    opening.catch(() => undefined);
    this.#queue.push({ bytes: data.length, opening, reply });
    this.#bytes += data.length;
    void this.#pump();
  }

  /** The connection broke. Messages that arrive before `back` wait until the gap is filled. */
  away(): void {
    this.#isAway = true;
    this.#connection.soundFrom = this.#connection.newest + 1;
    if (this.deps.persist) this.#tear("gap");
  }

  /** The connection was restored. */
  back(): void {
    if (!this.#isAway) return;
    this.#isAway = false;
    if (!this.deps.persist) this.#tear("gap");
    void this.#pump();
  }

  /** Messages may be missing although there is a connection. */
  gap(): void {
    this.#tear("gap");
    void this.#pump();
  }

  /** Starts a gap: filled from the history if there is one, else reported as lost. */
  #tear(why: Lost): void {
    if (this.deps.persist) {
      // An unreadable message is taken from the queue: all others in it came later.
      if (why === "unreadable") this.#beforeGap = 0;
      else if (!this.#isTorn) this.#beforeGap = this.#queue.length;
      this.#isTorn = true;
      this.#tears += 1;
      this.#firstAfter = null;
    } else this.deps.onLost(why);
  }

  /** Sets the first frame after the gap. A copy of a frame already delivered does not count. */
  #noteFirst(frame: Frame | Dropped): void {
    if (isDropped(frame) || this.deps.receiver.knows(frame)) return;
    this.#firstAfter = frame;
    this.#onFirstAfter();
  }

  get #isHeld(): boolean {
    return !this.#isBegun || (this.#isAway && this.deps.persist && this.#beforeGap === 0);
  }

  async #pump(): Promise<void> {
    if (this.#isPumping) return;
    this.#isPumping = true;
    try {
      while (!this.deps.signal.aborted && !this.#isHeld) {
        // What came before the gap may be in no history that is read to fill it: it was stored before `begin`.
        if (this.#beforeGap > 0) this.#beforeGap -= 1;
        else if (this.#isTorn) {
          await this.#fillGap();
          continue;
        }
        const next = this.#queue.shift();
        if (next === undefined) break;
        this.#bytes -= next.bytes;
        await this.#deliver(next);
      }
    } finally {
      this.#isPumping = false;
    }
  }

  async #deliver({ opening, reply }: Queued): Promise<void> {
    let received: Received | null;
    try {
      received = await opening;
    } catch (error) {
      this.deps.onTrouble(error);
      // It can be read again from the history. A forked room delivers nothing more.
      if (isUnibusError(error) && error.code === "room_forked") return;
      return this.#tear("unreadable");
    }
    if (received === null) return;
    const position = this.deps.receiver.memory.add(received.frame);
    if (position === null) return this.deps.receiver.drop("repeat");
    this.deps.onDelivered({ received, reply, position, upTo: this.#completeUpTo });
    this.#sinceLook += 1;
    if (this.deps.persist && this.#sinceLook >= frameCountPerLook) void this.#advance();
  }

  /** Fills the gap, with retries. Stops if the connection breaks again. */
  async #fillGap(): Promise<void> {
    const { signal } = this.deps;
    for (let attempt = 0; this.#isTorn && !signal.aborted && !this.#isHeld; attempt++) {
      try {
        await this.#readOn(this.#tears);
      } catch (error) {
        await waitToRetry(error, attempt, this.deps).catch(() => {
          this.#isTorn = false;
        });
      }
    }
  }

  /** Delivers stored frames until they include the first live frame after the gap, or there is another gap. */
  async #readOn(tear: number): Promise<void> {
    const { control, roomId, signal, receiver } = this.deps;
    const endMs = performance.now() + settle.withinMs;
    for (let reads = 1; this.#tears === tear; reads++) {
      for await (const { frames, upTo } of pagesAfter(control, roomId, this.#mark.safe, signal)) {
        await this.#deliverStored(frames);
        this.#mark = { safe: upTo, next: upTo };
        this.#look = null;
      }
      const leftMs = endMs - performance.now();
      const isJoined = this.#firstAfter !== null && receiver.knows(this.#firstAfter);
      const isOver = leftMs <= 0 && (this.#firstAfter === null || reads >= settle.readsMin);
      if (!isOver && !isJoined) await this.#settle(leftMs);
      else if (this.#tears === tear) {
        this.#isTorn = false;
        return;
      }
    }
  }

  /** Waits for a live frame if there was none after the gap, and then for a short pause. */
  async #settle(withinMs: number): Promise<void> {
    const { signal } = this.deps;
    if (this.#firstAfter === null) {
      const came = new Promise<void>((resolve) => {
        this.#onFirstAfter = resolve;
      });
      await Promise.race([came, pause(withinMs, signal)]);
    }
    await pause(settle.pauseMs, signal);
  }

  async #deliverStored(frames: Page["frames"]): Promise<void> {
    const { receiver, onDelivered } = this.deps;
    // Skip frames that were already delivered.
    const fresh = frames.filter((frame) => isDropped(frame) || !receiver.knows(frame));
    const all = await Promise.all(fresh.map((frame) => receiver.open(frame, "history")));
    for (const received of all) {
      const position = received === null ? null : receiver.memory.add(received.frame);
      if (received !== null && position !== null)
        onDelivered({ received, reply: undefined, position, upTo: this.#completeUpTo });
    }
  }

  /**
   * Moves the position from which a gap would be read. A stored frame may still be on its way here, however long. So a
   * reading of the position counts only once its newest frame was delivered, and then confirms the reading before it,
   * because frames of several senders may arrive in another order than they are stored.
   */
  async #advance(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    this.#sinceLook = 0;
    const { control, roomId, signal, receiver, onTrouble } = this.deps;
    try {
      const seen = this.#look;
      if (seen !== null && receiver.knows(seen.frame))
        this.#mark = { safe: this.#mark.next, next: Math.max(this.#mark.next, seen.seq) };
      const { last_seq: seq, messages } = await control.history(roomId, { limit: 1 }, signal);
      const [frame] = framesOf(messages);
      if (!this.#isTorn) this.#look = frame === undefined || isDropped(frame) ? null : { seq, frame };
    } catch (error) {
      if (!signal.aborted) onTrouble(error);
    } finally {
      this.#isLooking = false;
    }
  }
}

/** Errors after which the room cannot be read any more. */
const isOver: ReadonlySet<string> = new Set(["room_forked", "gone", "forbidden", "not_found"]);

/** Reports a failed read, and waits before the next one. Errors: those after which the room cannot be read. */
export async function waitToRetry(
  error: unknown,
  attempt: number,
  { signal, onTrouble }: Pick<RoomSubscriptionDeps, "signal" | "onTrouble">,
): Promise<void> {
  signal.throwIfAborted();
  onTrouble(error);
  if (isUnibusError(error) && isOver.has(error.code)) throw error;
  await pause(backoffMs(attempt, retryMs), signal);
}
