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
 * How long a login waits for its turn, in milliseconds. The most impatient clients, nats.go and jnats, give up after
 * 2 s: a later answer would be spent on a connection that is gone.
 */
export const holdMsMax = 1_500;
/** How long a login waits for the check of its signature, in milliseconds: late is better than never. */
const checkMsMax = 5_000;
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

/** Lets logins through at their rate. A client is an address, as `clientKey` gives it. */
export class LoginGate {
  readonly #checks = new FairQueue(checkedAtOnce, uncheckedMax);
  readonly #rates: Readonly<Record<keyof GateRates, Limiter>>;
  #waiting = 0;

  constructor({ logins, failed }: GateRates) {
    this.#rates = { logins: new Limiter(logins), failed: new Limiter(failed) };
  }

  /** Checks a login when its turn has come. Addresses take turns. Null: it waited too long, or too many wait. */
  async check<T>(client: string, work: () => Promise<T>): Promise<T | null> {
    const beganMs = performance.now();
    const isLate = () => performance.now() - beganMs > checkMsMax;
    const checked = await this.#checks.run(client, async () => (isLate() ? null : { result: await work() }));
    return checked?.result?.result ?? null;
  }

  /** Waits until a login may be answered. False: it may not within `holdMsMax`, or too many wait. */
  async turn(client: string, rate: keyof GateRates): Promise<boolean> {
    if (this.#waiting >= waitingMax) return false;
    const waitMs = this.#rates[rate].reserve(client, performance.now(), holdMsMax);
    if (waitMs === null) return false;
    this.#waiting += 1;
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    this.#waiting -= 1;
    return true;
  }
}
