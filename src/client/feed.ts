/**
 * Frames that wait for one reader. The queue is bounded in number and in bytes, and a reader that is too slow is never
 * ended for it: otherwise one member who sends a lot could end every reader of a room. What is too much is either left
 * out, to be read from where it is kept (`lapse`), or dropped from the sender who has the most waiting (`drop`).
 */
import type { Told } from "./tail.ts";

/** How many bytes of payload may wait for one reader. */
const bytesMax = 64 * 1_048_576;

/** What becomes of frames that are too much: left out, to be read again from the history, or dropped for good. */
export type Overflow = "lapse" | "drop";

/** Told in place of a frame when some were left out: the reader reads them from the history, and then goes on. */
export const lapsed = Symbol("lapsed");

const sizeOf = ({ received }: Told): number => received.payload.length;

/** The queue of one reader. */
export class Feed {
  #queue: Told[] = [];
  #bytes = 0;
  #wake: (() => void) | null = null;
  #end: { readonly error: unknown } | null = null;
  #hasLapsed = false;

  /** `max`: how many frames may wait. `onDrop` is called when some were dropped. */
  constructor(
    private readonly max: number,
    private readonly overflow: Overflow,
    private readonly onDrop: () => void = () => undefined,
  ) {}

  /** Takes a frame for the reader. */
  push(told: Told): void {
    if (this.#end !== null) return;
    if (this.#queue.length >= this.max || this.#bytes + sizeOf(told) > bytesMax) this.#makeRoom();
    this.#queue.push(told);
    this.#bytes += sizeOf(told);
    this.#wake?.();
  }

  /** Whether something was left out since the last call, to be read from where it is kept. */
  takeLapse(): boolean {
    const hasLapsed = this.#hasLapsed;
    this.#hasLapsed = false;
    return hasLapsed;
  }

  get isEnded(): boolean {
    return this.#end !== null;
  }

  /** Whether nothing waits, and nothing was left out. */
  get isEmpty(): boolean {
    return this.#queue.length === 0 && !this.#hasLapsed;
  }

  /** The frame that is next, if there is one. */
  peek(): Told | undefined {
    return this.#queue[0];
  }

  /** Resolves when there is something to read, or the end. */
  async came(): Promise<void> {
    while (this.isEmpty && this.#end === null) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
  }

  /** Ends the feed after what is in it; with an error where there is one. */
  end(error: unknown = null): void {
    this.#end ??= { error };
    this.#wake?.();
  }

  /** The next frame; `lapsed` where some were left out before it; null at the end. Errors: what it was ended with. */
  async next(): Promise<Told | typeof lapsed | null> {
    for (;;) {
      if (this.takeLapse()) return lapsed;
      const told = this.#queue.shift();
      if (told !== undefined) {
        this.#bytes -= sizeOf(told);
        return told;
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
    const mostBy = (weigh: (told: Told) => number) => noisiest(this.#queue, weigh);
    const sender = this.#queue.length >= this.max ? mostBy(() => 1) : mostBy(sizeOf);
    // Half of theirs, the oldest, so that this is done rarely; where each has one, the oldest of all.
    let left = Math.max(1, Math.ceil(this.#queue.filter(({ received }) => received.frame.from === sender).length / 2));
    this.#keep(this.#queue.filter(({ received }) => received.frame.from !== sender || left-- <= 0));
  }

  #keep(queue: Told[]): void {
    this.#queue = queue;
    this.#bytes = queue.reduce((sum, told) => sum + sizeOf(told), 0);
  }
}

/** The sender who has the most waiting. */
function noisiest(queue: readonly Told[], weigh: (told: Told) => number): string | null {
  const weights = new Map<string, number>();
  let most: { readonly from: string; readonly weight: number } | null = null;
  for (const told of queue) {
    const { from } = told.received.frame;
    const weight = (weights.get(from) ?? 0) + weigh(told);
    weights.set(from, weight);
    if (most === null || weight > most.weight) most = { from, weight };
  }
  return most?.from ?? null;
}
