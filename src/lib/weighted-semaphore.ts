/**
 * A semaphore weighted by bytes: runs work as long as the total of what it may read stays below a limit.
 * Shape: work that does not fit waits; any waiting work that fits goes next, so small work overtakes large work.
 */
export class WeightedSemaphore {
  readonly #waiting = new Set<{ readonly bytes: number; readonly begin: () => void }>();
  #free: number;

  constructor(bytesMax: number) {
    this.#free = bytesMax;
  }

  /** Runs `work` when `bytes` are free. Errors: those of `work`; `late()` if it could not start in time. */
  async hold<T>(bytes: number, timeoutMs: number, late: () => Error, work: () => Promise<T>): Promise<T> {
    if (bytes > this.#free) await this.#turn(bytes, timeoutMs, late);
    else this.#free -= bytes;
    try {
      return await work();
    } finally {
      this.#free += bytes;
      this.#admit();
    }
  }

  #turn(bytes: number, timeoutMs: number, late: () => Error): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const one = { bytes, begin: resolve };
    this.#waiting.add(one);
    const timer = setTimeout(() => {
      if (this.#waiting.delete(one)) reject(late());
    }, timeoutMs);
    return promise.finally(() => clearTimeout(timer));
  }

  #admit(): void {
    for (const one of this.#waiting) {
      if (one.bytes > this.#free) continue;
      this.#waiting.delete(one);
      this.#free -= one.bytes;
      one.begin();
    }
  }
}
