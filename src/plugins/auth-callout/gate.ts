/**
 * How fast logins are served, for each address they come from.
 *
 * A login that is over the rate is never answered with a denial: nats.go, nats.js and jnats close for good after the
 * second authorization error. It waits for its turn, and if that takes too long its connection is dropped without an
 * error, which every client answers by connecting again. Logins that fail have a rate of their own, so that a
 * stranger's garbage takes nothing from a user at the same address.
 * Source: spec 9.
 */
import { Limiter } from "../../contracts/limiter.ts";
import { FairQueue } from "../../lib/fair-queue.ts";

/**
 * How long a login waits in all, in milliseconds. The most impatient clients, nats.go and jnats, give up after 2 s: a
 * later answer would make a connection that nobody uses and that counts as one of its user.
 */
export const holdMsMax = 1_500;
/** How long of that it waits for its turn by the rate, in milliseconds: a client may have waited before it got here. */
const turnMsMax = 500;
/** Signatures that are checked at once: the other threads of the pool are for requests over HTTP. */
const checkedAtOnce = 2;
/** Logins that wait for the check of their signature, at most. */
const uncheckedMax = 10_000;
/** Logins that wait for their turn, at most. */
const waitingMax = 20_000;

/** The rates of a gate, in logins a second from one address; twice that at once. */
export interface GateRates {
  readonly logins: number;
  readonly failed: number;
}

/** A login on its way through the gate. */
export interface Passage {
  /** Its address, as `clientKey` gives it. */
  readonly client: string;
  /** When it came, as `performance.now()` says. */
  readonly cameMs: number;
}

/** How much longer a login waits, in milliseconds. */
const leftMs = ({ cameMs }: Passage): number => Math.max(0, holdMsMax - (performance.now() - cameMs));

/** Lets logins through at their rate. */
export class LoginGate {
  readonly #checks = new FairQueue(checkedAtOnce, uncheckedMax);
  readonly #rates: Readonly<Record<keyof GateRates, Limiter>>;
  #waiting = 0;

  constructor({ logins, failed }: GateRates) {
    this.#rates = { logins: new Limiter(logins), failed: new Limiter(failed) };
  }

  /**
   * Checks a login when its turn has come. Addresses take turns, and the newest login of an address comes first. Null,
   * without a check: its turn did not come in time, or a good login from there could not be answered in time.
   */
  async check<T>(passage: Passage, work: () => Promise<T>): Promise<T | null> {
    const logins = this.#rates.logins;
    const isHopeless = () => logins.waitMs(passage.client, performance.now()) > turnMsMax;
    const checked = await this.#checks.run(passage.client, leftMs(passage), async () =>
      isHopeless() ? null : { result: await work() },
    );
    return checked?.result?.result ?? null;
  }

  /** Waits until a login may be answered. False: it may not in time, or too many wait. */
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
