/** A token bucket: allows `burst` calls at once, then `perSecond` calls per second. */
export class TokenBucket {
  #tokens: number;
  #atMs = performance.now();

  constructor(
    private readonly burst: number,
    private readonly perSecond: number,
  ) {
    this.#tokens = burst;
  }

  /** Takes a token and resolves when it is available. Callers are served first in, first out. */
  async take(): Promise<void> {
    this.#refill();
    this.#tokens -= 1;
    if (this.#tokens >= 0) return;
    await new Promise((resolve) => setTimeout(resolve, (-this.#tokens / this.perSecond) * 1000));
  }

  /** Takes a token if one is available, and reports whether it did. */
  tryTake(): boolean {
    this.#refill();
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  #refill(): void {
    const nowMs = performance.now();
    this.#tokens = Math.min(this.burst, this.#tokens + ((nowMs - this.#atMs) / 1000) * this.perSecond);
    this.#atMs = nowMs;
  }
}
