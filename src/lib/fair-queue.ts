/**
 * Runs work a few at a time on behalf of many keys. Keys take turns, so that one key with much work does not make the
 * others wait; within a key the first one comes first. What waits is bounded.
 */
export class FairQueue {
  #running = 0;
  #size = 0;
  readonly #waiting = new Map<string, (() => void)[]>();

  /** `atOnce`: how much runs at a time. `waitingMax`: how much waits, over all keys. */
  constructor(
    private readonly atOnce: number,
    private readonly waitingMax: number,
  ) {}

  /** Runs `work` when its turn comes, and gives its result. Null, without running it, if too much waits already. */
  async run<T>(key: string, work: () => Promise<T>): Promise<{ readonly result: T } | null> {
    if (this.#running >= this.atOnce) {
      if (this.#size >= this.waitingMax) return null;
      await this.#turn(key);
    } else this.#running += 1;
    try {
      return { result: await work() };
    } finally {
      this.#next();
    }
  }

  #turn(key: string): Promise<void> {
    this.#size += 1;
    return new Promise((resolve) => {
      const same = this.#waiting.get(key);
      if (same === undefined) this.#waiting.set(key, [resolve]);
      else same.push(resolve);
    });
  }

  /** Hands the place of what has ended to the next key, which then stands behind the others. */
  #next(): void {
    const [first] = this.#waiting;
    if (first === undefined) {
      this.#running -= 1;
      return;
    }
    const [key, waiting] = first;
    const start = waiting.shift();
    this.#waiting.delete(key);
    if (waiting.length > 0) this.#waiting.set(key, waiting);
    this.#size -= 1;
    start?.();
  }
}
