/** The result of taking a place: a function that frees it again, or how long until a place is free. */
export type TakenPlace = { readonly giveBack: () => void } | { readonly waitMs: number };

/** The limits of a sliding window. */
export interface SlidingWindowOptions {
  /** How many places one key has in any `windowMs`. */
  readonly max: number;
  /** Milliseconds. */
  readonly windowMs: number;
  /** Above this number of keys, those without a taken place are forgotten. */
  readonly keysMax: number;
  /** Returns milliseconds since any start. */
  readonly now: () => number;
}

/** Limits how often something happens for each key in any period of a fixed length. Refused attempts do not count. */
export class SlidingWindow {
  readonly #taken = new Map<string, number[]>();

  constructor(private readonly options: SlidingWindowOptions) {}

  /** Takes one of the places of a key. */
  take(key: string): TakenPlace {
    const { max, windowMs, keysMax } = this.options;
    const now = this.options.now();
    const recent = this.#recent(key, now);
    const [oldest = now] = recent;
    if (recent.length >= max) return { waitMs: oldest + windowMs - now };
    if (this.#taken.size >= keysMax) {
      for (const other of this.#taken.keys()) if (this.#recent(other, now).length === 0) this.#taken.delete(other);
    }
    recent.push(now);
    this.#taken.set(key, recent);
    return { giveBack: () => this.#giveBack(key, now) };
  }

  /** Frees a place, unless it is older than the window and has been dropped already. */
  #giveBack(key: string, at: number): void {
    const taken = this.#taken.get(key) ?? [];
    const index = taken.indexOf(at);
    if (index >= 0) taken.splice(index, 1);
  }

  /** The places of a key that are in use, oldest first. Times in the future (clock set back) are dropped. */
  #recent(key: string, now: number): number[] {
    return (this.#taken.get(key) ?? []).filter((at) => at > now - this.options.windowMs && at <= now);
  }
}
