import type { Caller } from "../../../contracts/auth.ts";
import { LruCache } from "../../../lib/lru-cache.ts";
import { UnibusError } from "../../../wire/errors.ts";

/** Retry time for a caller refused because another restoration is running, in seconds. */
const busyRetryS = 5;
/** A caller whose restoration took longer than this and failed must wait, in milliseconds. */
const quickMs = 10_000;
/** That wait, as a multiple of the failed restoration's duration, and its maximum in milliseconds. */
const waitFactor = 2;
const waitMsMax = 300_000;
/** How many waiting callers are remembered. */
const waitingMax = 1_000;

/**
 * A lock that admits one restoration at a time, because its body is outside the budget of all request bodies. A caller
 * who held the lock for long without success must wait before the next attempt, so that others get a chance.
 */
export class RestorationTurn {
  #isTaken = false;
  readonly #waitUntilMs = new LruCache<number>(waitingMax);

  /** Runs a restoration. Errors: unavailable, with the time after which to retry; those of `work`. */
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
    this.#waitUntilMs.set(endpoint, performance.now() + ms);
  }
}
