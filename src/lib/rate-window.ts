/** Counts what happened in the last period: allows at most `max` in any period of that length. */
export class RateWindow {
  /** The times of the last `max` events, as a ring. */
  readonly #times: number[] = [];
  #next = 0;

  constructor(
    private readonly max: number,
    private readonly windowMs: number,
  ) {}

  /** Whether one more is allowed now. If so, it is counted. `nowMs` is monotonic. */
  take(nowMs: number): boolean {
    const oldest = this.#times[this.#next];
    if (oldest !== undefined && nowMs - oldest < this.windowMs) return false;
    this.#times[this.#next] = nowMs;
    this.#next = (this.#next + 1) % this.max;
    return true;
  }
}
