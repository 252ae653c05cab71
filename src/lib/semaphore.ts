/** How long a caller waits for a slot at most, in milliseconds, and the error when it is over. */
export interface SlotWait {
  readonly withinMs: number;
  readonly late: () => Error;
}

/** A counting semaphore: at most `max` slots are taken at once; the others wait, first in, first out. */
export class Semaphore {
  readonly #waiting: (() => void)[] = [];
  readonly #max: number;
  readonly #waitingMax: number;
  #free: number;

  /** `waitingMax`: how many callers may wait. */
  constructor(max: number, waitingMax = Number.POSITIVE_INFINITY) {
    this.#max = max;
    this.#free = max;
    this.#waitingMax = waitingMax;
  }

  /** Whether no slot is taken. */
  get isIdle(): boolean {
    return this.#free === this.#max;
  }

  /**
   * Takes a slot when one is free. The returned function releases it; calling it again has no effect.
   * Errors: `late()` after `withinMs`; an Error if too many are waiting.
   */
  async take(wait?: SlotWait): Promise<() => void> {
    if (this.#free > 0) this.#free -= 1;
    else await this.#turn(wait);
    let isTaken = true;
    return () => {
      if (!isTaken) return;
      isTaken = false;
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    };
  }

  /** Runs `work` when a slot is free and returns its result. Errors: those of `take` and of the work. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    const release = await this.take();
    try {
      return await work();
    } finally {
      release();
    }
  }

  #turn(wait?: SlotWait): Promise<void> {
    if (this.#waiting.length >= this.#waitingMax) throw new Error("too many are waiting");
    return new Promise((resolve, reject) => {
      if (wait === undefined) {
        this.#waiting.push(resolve);
        return;
      }
      const begin = (): void => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(begin), 1);
        reject(wait.late());
      }, wait.withinMs);
      this.#waiting.push(begin);
    });
  }
}
