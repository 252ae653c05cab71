import { UnibusError } from "../wire/errors.ts";
import type { Told } from "./tail.ts";

/** Frames that wait for their reader. It is bounded: one who is too slow is told, and the room goes on without them. */
export class Feed {
  readonly #queue: Told[] = [];
  #wake: (() => void) | null = null;
  #end: { readonly error: unknown } | null = null;
  #hasLapsed = false;

  /** `lapses`: while true, what is too much is forgotten and to be read elsewhere; else it ends the feed. */
  constructor(
    private readonly max: number,
    private lapses: boolean,
  ) {}

  /** Takes a frame for the reader. */
  push(told: Told): void {
    if (this.#end !== null) return;
    if (this.#queue.length < this.max) this.#queue.push(told);
    else if (this.lapses) {
      this.#hasLapsed = true;
      this.#queue.length = 0;
    } else {
      const mend = "read faster, or ask for a longer queue";
      this.end(new UnibusError("quota", `this reader was ${this.max} messages behind and was left (${mend})`));
    }
    this.#wake?.();
  }

  /** Whether something was forgotten since the last call, to be read from where it is kept. */
  takeLapse(): boolean {
    const lapsed = this.#hasLapsed;
    this.#hasLapsed = false;
    return lapsed;
  }

  /** From here on a reader who is too slow is left. */
  stopLapsing(): void {
    this.lapses = false;
  }

  get isEnded(): boolean {
    return this.#end !== null;
  }

  /** The frame that is next, if there is one. */
  peek(): Told | undefined {
    return this.#queue[0];
  }

  /** Resolves when there is something to read, or the end. */
  async came(): Promise<void> {
    while (this.#queue.length === 0 && this.#end === null && !this.#hasLapsed) {
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

  /** The next frame, or null at the end. Errors: what the feed was ended with. */
  async next(): Promise<Told | null> {
    for (;;) {
      const told = this.#queue.shift();
      if (told !== undefined) return told;
      if (this.#end?.error) throw this.#end.error;
      if (this.#end !== null) return null;
      await this.came();
    }
  }
}
