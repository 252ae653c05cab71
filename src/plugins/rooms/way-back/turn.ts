import type { Caller } from "../../../contracts/auth.ts";
import { UnibusError } from "../../../wire/errors.ts";

/** When a caller who is refused because another restoration runs may try again, in seconds. */
const busyRetryS = 5;
/** A caller whose restoration failed after more than this time waits, in milliseconds. */
const quickMs = 10_000;
/** How long such a caller waits, as a multiple of the time that the failed one took, and at most, in milliseconds. */
const waitFactor = 2;
const waitMsMax = 300_000;
/** How many callers who wait are remembered. */
const waitingMax = 1_000;

/**
 * One restoration at a time, because its body is outside the budget of all bodies. A caller who holds the turn for long
 * and achieves nothing gives others a chance before the next try.
 */
export class RestorationTurn {
  #isTaken = false;
  readonly #waitUntilMs = new Map<string, number>();

  /** Runs a restoration. Errors: unavailable, with the time after which to try again; those of `work`. */
  async take<T>({ endpoint }: Caller, work: () => Promise<T>): Promise<T> {
    const waitMs = (this.#waitUntilMs.get(endpoint) ?? 0) - performance.now();
    if (this.#isTaken || waitMs > 0) {
      const retryAfterS = Math.max(busyRetryS, Math.ceil(waitMs / 1_000));
      throw new UnibusError("unavailable", "another room is being restored (try again)", { retryAfterS });
    }
    this.#isTaken = true;
    const begunMs = performance.now();
    try {
      const done = await work();
      this.#waitUntilMs.delete(endpoint);
      return done;
    } catch (error) {
      const tookMs = performance.now() - begunMs;
      if (tookMs > quickMs) this.#delay(endpoint, Math.min(waitFactor * tookMs, waitMsMax));
      throw error;
    } finally {
      this.#isTaken = false;
    }
  }

  #delay(endpoint: string, ms: number): void {
    this.#waitUntilMs.delete(endpoint);
    this.#waitUntilMs.set(endpoint, performance.now() + ms);
    const oldest = this.#waitUntilMs.keys().next().value;
    if (this.#waitUntilMs.size > waitingMax && oldest !== undefined) this.#waitUntilMs.delete(oldest);
  }
}
