/**
 * Rate limits for logins, by the address they come from.
 *
 * A login over the rate is never denied, because nats.go, nats.js and jnats close for good after the second
 * authorization error. It waits for its turn. If that takes too long, its connection is dropped without an error, and
 * every client reconnects after that. Failed logins have a separate rate, so that garbage from a stranger does not use
 * up the rate of a user at the same address. Source: docs/protocol/logins.md.
 */
import { Limiter } from "../../contracts/limiter.ts";
import { FairQueue } from "../../lib/fair-queue.ts";

/**
 * How long a login waits in total, in milliseconds. The most impatient clients, nats.go and jnats, give up after 2 s. A
 * later answer would create a connection that no client uses and that counts towards its user's limit.
 */
export const holdMsMax = 1_500;
/** The part of that for the rate limit, in milliseconds. A client may have waited before its login arrived here. */
const turnMsMax = 500;
/** How many signatures are checked concurrently. The other threads of the pool are for HTTP requests. */
const checkedAtOnce = 2;
/** Maximum number of logins that wait for their signature check. */
const uncheckedMax = 10_000;
/** Maximum number of logins that wait for their turn. */
const waitingMax = 20_000;

/** The rates of a gate, in logins per second from one address. The burst is twice that. */
export interface GateRates {
  readonly logins: number;
  readonly failed: number;
}

/** A login that is passing through the gate. */
export interface Passage {
  /** The client's address in the form of `clientKey`. */
  readonly client: string;
  /** Arrival time, from `performance.now()`. */
  readonly cameMs: number;
}

/** How much longer a login may wait, in milliseconds. */
const leftMs = ({ cameMs }: Passage): number => Math.max(0, holdMsMax - (performance.now() - cameMs));

/** Admits logins at the configured rates. */
export class LoginGate {
  readonly #checks = new FairQueue(checkedAtOnce, uncheckedMax);
  readonly #rates: Readonly<Record<keyof GateRates, Limiter>>;
  #waiting = 0;

  constructor({ logins, failed }: GateRates) {
    this.#rates = { logins: new Limiter(logins), failed: new Limiter(failed) };
  }

  /**
   * Checks a login when its turn comes. Addresses take turns, and the newest login of an address goes first. Returns
   * null without a check if the turn does not come in time, or if even a valid login could not be answered in time.
   */
  async check<T>(passage: Passage, work: () => Promise<T>): Promise<T | null> {
    const logins = this.#rates.logins;
    const isHopeless = () => logins.waitMs(passage.client, performance.now()) > turnMsMax;
    const checked = await this.#checks.run(passage.client, leftMs(passage), async () =>
      isHopeless() ? null : { result: await work() },
    );
    return checked?.result?.result ?? null;
  }

  /** Waits until a login may be answered. Returns false if that would be too late or too many logins wait. */
  async turn(passage: Passage, rate: keyof GateRates): Promise<boolean> {
    if (this.#waiting >= waitingMax) return false;
    const waitMs = this.#rates[rate].reserve(passage.client, performance.now(), Math.min(turnMsMax, leftMs(passage)));
    if (waitMs === null) return false;
    this.#waiting += 1;
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    this.#waiting -= 1;
    return true;
  }
}
