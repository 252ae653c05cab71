import { SeenSet } from "../../lib/seen-set.ts";
import type { Frame } from "../../wire/frame.ts";
import { type FrameMemory, frameKey } from "./frame-memory.ts";
import type { DeliveredFrame } from "./room-subscription.ts";

/**
 * What one reader of a room has, so that it gets each frame once although its history and its live frames overlap.
 *
 * Live frames come once and in order, so the position of the last one says which ones the reader has. Only a frame that
 * was read from the history, and may still come live, is remembered by its name: until the subscription reports that
 * everything read was delivered.
 */
export class ReaderProgress {
  /** The reader gets live frames from this position on. */
  readonly #begin: number;
  /** It has the live frames before this position. */
  #next: number;
  #read: SeenSet | null = null;
  #readUpTo = 0;

  /**
   * Create it when the reader's queue is attached. `readMax`: how many frames of a history are remembered.
   * `wantsOlder`: whether the reader wants frames that were delivered to others before.
   */
  constructor(
    private readonly memory: FrameMemory,
    private readonly readMax: number,
    private readonly wantsOlder: boolean,
  ) {
    this.#begin = memory.next;
    this.#next = memory.next;
  }

  /** Notes a frame of the history. Returns whether it is new to the reader. */
  addRead(frame: Frame): boolean {
    const position = this.memory.positionOf(frame);
    const isOld = position !== null && position < this.#next;
    if (isOld && (position >= this.#begin || !this.wantsOlder)) return false;
    return this.skip(frame);
  }

  /** Notes that the reader has a frame, or does not want it. Returns whether that was not known before. */
  skip(frame: Frame): boolean {
    this.#read ??= new SeenSet(this.readMax);
    return this.#read.add(frameKey(frame));
  }

  /** The history was read up to this sequence number. */
  readUpTo(seq: number): void {
    this.#readUpTo = Math.max(this.#readUpTo, seq);
  }

  /** Whether a frame that waits in the queue was read from the history. */
  hasRead(frame: Frame): boolean {
    return this.#read?.has(frameKey(frame)) === true;
  }

  /** Notes a live frame. Returns whether it is new to the reader. */
  addLive({ received: { frame }, position, upTo }: DeliveredFrame): boolean {
    this.#next = position + 1;
    if (this.#read === null) return true;
    const isNew = !this.hasRead(frame);
    if (upTo >= this.#readUpTo) this.#read = null;
    return isNew;
  }
}
