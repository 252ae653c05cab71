/** Wake-ups are not closer together than this, so that many deadlines share one, in milliseconds. */
const leastMs = 50;

/** One timer for many deadlines: it is set to the earliest of them, and does not keep the process alive. */
export class Alarm {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #atMs = Number.POSITIVE_INFINITY;

  constructor(
    /** Does what is due, and returns the next deadline; infinity if there is none. */
    private readonly work: () => number,
    /** A monotonic clock, in milliseconds. */
    private readonly now: () => number,
  ) {}

  /** Makes sure that the work is done at a time, or earlier. */
  by(atMs: number): void {
    if (atMs >= this.#atMs) return;
    clearTimeout(this.#timer);
    this.#atMs = atMs;
    this.#timer = setTimeout(() => this.#ring(), Math.max(atMs - this.now(), leastMs));
    (this.#timer as { unref?: () => void }).unref?.();
  }

  /** Cancels the timer. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#atMs = Number.POSITIVE_INFINITY;
  }

  #ring(): void {
    this.#atMs = Number.POSITIVE_INFINITY;
    this.by(this.work());
  }
}
