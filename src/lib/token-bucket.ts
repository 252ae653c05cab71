/** A token bucket: `burst` tokens at once, then `perSecond` more each second. */
export class TokenBucket {
  #tokens: number;
  #atMs = performance.now();

  constructor(
    private readonly burst: number,
    private readonly perSecond: number,
  ) {
    this.#tokens = burst;
  }

  /** Takes a token and resolves when its turn has come. Callers are served in the order in which they called. */
  async take(): Promise<void> {
    this.#refill();
    this.#tokens -= 1;
    if (this.#tokens >= 0) return;
    await new Promise((resolve) => setTimeout(resolve, (-this.#tokens / this.perSecond) * 1000));
  }

  /** Takes a token if there is one, and says whether there was. */
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
