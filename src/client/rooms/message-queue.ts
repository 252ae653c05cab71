/**
 * The queue of frames that wait for one reader, bounded in number and in bytes.
 *
 * A slow reader is never closed for being slow: otherwise one member who sends a lot could close every reader of a
 * room. When the queue is full, it either drops its content and signals a gap that the reader fills from the history
 * (`lapse`), or drops frames of the sender who has the most waiting (`drop`).
 */
import type { DeliveredFrame } from "./room-subscription.ts";

/** Maximum payload bytes that wait for one reader. */
const bytesMax = 64 * 1_048_576;

/** What happens when the queue is full: `lapse` skips frames that can be read from the history, `drop` loses frames. */
export type Overflow = "lapse" | "drop";

/** Returned in place of a frame after a gap. The reader fills the gap from the history and then goes on. */
export const lapsed = Symbol("lapsed");

const sizeOf = ({ received }: DeliveredFrame): number => received.payload.length;

/** The message queue of one reader. */
export class MessageQueue {
  #queue: DeliveredFrame[] = [];
  #bytes = 0;
  #wake: (() => void) | null = null;
  #end: { readonly error: unknown } | null = null;
  #hasLapsed = false;

  /** `max`: maximum number of waiting frames. `onDrop` is called when frames were dropped. */
  constructor(
    private readonly max: number,
    private readonly overflow: Overflow,
    private readonly onDrop: () => void = () => undefined,
  ) {}

  /** Appends a frame. */
  push(delivered: DeliveredFrame): void {
    if (this.#end !== null) return;
    if (this.#queue.length >= this.max || this.#bytes + sizeOf(delivered) > bytesMax) this.#makeRoom();
    this.#queue.push(delivered);
    this.#bytes += sizeOf(delivered);
    this.#wake?.();
  }

  /** Whether frames were skipped since the last call, and must be read from the history. */
  takeLapse(): boolean {
    const hasLapsed = this.#hasLapsed;
    this.#hasLapsed = false;
    return hasLapsed;
  }

  get isEnded(): boolean {
    return this.#end !== null;
  }

  /** Whether no frame waits and none was skipped. */
  get isEmpty(): boolean {
    return this.#queue.length === 0 && !this.#hasLapsed;
  }

  /** The next frame, if there is one. */
  peek(): DeliveredFrame | undefined {
    return this.#queue[0];
  }

  /** Resolves when there is a frame, a gap, or the end. */
  async came(): Promise<void> {
    while (this.isEmpty && this.#end === null) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
  }

  /** Ends the queue after the frames in it, with an error if one is given. */
  end(error: unknown = null): void {
    this.#end ??= { error };
    this.#wake?.();
  }

  /** The next frame; `lapsed` if frames were skipped before it; null at the end. Errors: the error given to `end`. */
  async next(): Promise<DeliveredFrame | typeof lapsed | null> {
    for (;;) {
      if (this.takeLapse()) return lapsed;
      const delivered = this.#queue.shift();
      if (delivered !== undefined) {
        this.#bytes -= sizeOf(delivered);
        return delivered;
      }
      if (this.#end?.error) throw this.#end.error;
      if (this.#end !== null) return null;
      await this.came();
    }
  }

  #makeRoom(): void {
    if (this.overflow === "lapse") {
      this.#hasLapsed = true;
      this.#keep([]);
      return;
    }
    this.onDrop();
    const mostBy = (weigh: (delivered: DeliveredFrame) => number) => noisiest(this.#queue, weigh);
    const sender = this.#queue.length >= this.max ? mostBy(() => 1) : mostBy(sizeOf);
    // Drop the older half of the sender's frames, so that this happens rarely. If each sender has one frame, drop the
    // oldest.
    let left = Math.max(1, Math.ceil(this.#queue.filter(({ received }) => received.frame.from === sender).length / 2));
    this.#keep(this.#queue.filter(({ received }) => received.frame.from !== sender || left-- <= 0));
  }

  #keep(queue: DeliveredFrame[]): void {
    this.#queue = queue;
    this.#bytes = queue.reduce((sum, delivered) => sum + sizeOf(delivered), 0);
  }
}

/** The sender with the most frames or bytes waiting. */
function noisiest(queue: readonly DeliveredFrame[], weigh: (delivered: DeliveredFrame) => number): string | null {
  const weights = new Map<string, number>();
  let most: { readonly from: string; readonly weight: number } | null = null;
  for (const delivered of queue) {
    const { from } = delivered.received.frame;
    const weight = (weights.get(from) ?? 0) + weigh(delivered);
    weights.set(from, weight);
    if (most === null || weight > most.weight) most = { from, weight };
  }
  return most?.from ?? null;
}
