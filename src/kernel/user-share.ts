/**
 * The share of the one thread that a user's costly reads may take: lists, history, statements and keys.
 *
 * Each read is charged by a fixed table, a base and so much for each byte sent, into a window of 10 s. While the event
 * loop is late, a user whose window holds more than the share waits; the smallest spender goes on first once the loop
 * is on time again. Who has waited too long is refused, as is the largest spender when too many wait. A loop that is
 * on time slows nobody, and what is not charged (changes, revocations, leaves, logins) never waits.
 */
import type { Cost } from "../contracts/plugin.ts";
import { UnibusError } from "../wire/errors.ts";

/** What a read costs of the main thread, in milliseconds: in any case, and for each MiB that is sent. Measured. */
export const costTable: Readonly<Record<Cost, { readonly baseMs: number; readonly mibMs: number }>> = {
  list: { baseMs: 0.3, mibMs: 12 },
  statements: { baseMs: 0.3, mibMs: 6 },
  history: { baseMs: 0.5, mibMs: 4 },
  key: { baseMs: 0.2, mibMs: 4 },
};

/** The part of the window that a user may take, where the configuration says nothing. Source: spec 9. */
export const userShareDefault = 0.25;

const windowMs = 10_000;
const slots = 10;
const slotMs = windowMs / slots;
/** From which delay on the loop counts as late, in milliseconds, and how long it does after that. */
const lateMs = 20;
const lateHoldMs = 250;
const tickMs = 10;
/** How long a read waits, in milliseconds, and how many may. */
const waitMsMax = 2_000;
const waitingMax = 64;
const mib = 1_048_576;

/** What a user was charged of late, in slots of a second. */
class Window {
  readonly #ms = new Float64Array(slots);
  #slot = 0;

  add(ms: number, nowMs: number): void {
    this.#turn(nowMs);
    const at = this.#slot % slots;
    this.#ms[at] = (this.#ms[at] ?? 0) + ms;
  }

  spent(nowMs: number): number {
    this.#turn(nowMs);
    return this.#ms.reduce((sum, ms) => sum + ms, 0);
  }

  /** After how many seconds no more than `limitMs` are left of it, when nothing is added. */
  secondsUntil(limitMs: number, nowMs: number): number {
    let left = this.spent(nowMs);
    for (let i = 1; i <= slots; i++) {
      left -= this.#ms[(this.#slot + i) % slots] ?? 0;
      if (left <= limitMs) return Math.ceil((i * slotMs) / 1_000);
    }
    return windowMs / 1_000;
  }

  #turn(nowMs: number): void {
    const slot = Math.floor(nowMs / slotMs);
    for (let i = Math.max(this.#slot + 1, slot - slots + 1); i <= slot; i++) this.#ms[i % slots] = 0;
    this.#slot = Math.max(this.#slot, slot);
  }
}

/** Watches how late the event loop is, as long as somebody asks. */
class LoopWatch {
  #timer: ReturnType<typeof setInterval> | undefined;
  #tickedAt = 0;
  #lateUntil = Number.NEGATIVE_INFINITY;

  constructor(private readonly onTick: () => void) {}

  begin(): void {
    if (this.#timer !== undefined) return;
    this.#tickedAt = performance.now();
    this.#timer = setInterval(() => this.#tick(), tickMs);
    this.#timer.unref?.();
  }

  end(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Whether it was late a moment ago, or is while this runs. */
  get isLate(): boolean {
    const now = performance.now();
    return now < this.#lateUntil || now - this.#tickedAt > tickMs + lateMs;
  }

  #tick(): void {
    const now = performance.now();
    if (now - this.#tickedAt > tickMs + lateMs) this.#lateUntil = now + lateHoldMs;
    this.#tickedAt = now;
    this.onTick();
  }
}

/** What is known of a user: the window, when it was charged last, and what a read of each kind cost at last. */
interface Spender {
  readonly window: Window;
  readonly lastMs: Partial<Record<Cost, number>>;
  at: number;
}

interface Waiting {
  readonly user: string;
  readonly since: number;
  readonly go: () => void;
  readonly refuse: () => void;
}

/** How a share is kept; a test says when the loop is late. */
export interface UserShareOptions {
  /** The part of the last 10 s, 0 to 1. */
  readonly share?: number | undefined;
  readonly isLate?: () => boolean;
}

/** The time of the main thread that each user took for costly reads. */
export class UserShare {
  readonly #limitMs: number;
  readonly #spenders = new Map<string, Spender>();
  readonly #watch = new LoopWatch(() => this.#tick());
  readonly #isLate: () => boolean;
  #waiting: Waiting[] = [];

  constructor({ share = userShareDefault, isLate }: UserShareOptions = {}) {
    this.#limitMs = share * windowMs;
    this.#isLate = isLate ?? (() => this.#watch.isLate);
  }

  /**
   * Lets a read begin, after a wait where the user has taken too much and the loop is late. It is charged at once, with
   * what the user's last read of that kind cost, so that many at once count before the first is answered. Gives what
   * corrects that by the bytes that were sent; null where the read failed.
   * Errors: rate_limited, with the seconds after which to try again.
   */
  async admit(user: string, cost: Cost): Promise<(bytes: number | null) => void> {
    this.#watch.begin();
    if (this.#spent(user) > this.#limitMs && this.#isLate()) await this.#wait(user);
    const { baseMs, mibMs } = costTable[cost];
    const expectedMs = this.#spenders.get(user)?.lastMs[cost] ?? 0;
    this.#charge(user, baseMs + expectedMs);
    return (bytes) => {
      const sentMs = ((bytes ?? 0) / mib) * mibMs;
      const { lastMs } = this.#charge(user, sentMs - expectedMs);
      if (bytes !== null) lastMs[cost] = sentMs;
    };
  }

  /** Ends the watch; who waits goes on. */
  close(): void {
    this.#watch.end();
    for (const { go } of this.#waiting.splice(0)) go();
  }

  #spent(user: string): number {
    return this.#spenders.get(user)?.window.spent(performance.now()) ?? 0;
  }

  #charge(user: string, ms: number): Spender {
    const now = performance.now();
    const spender = this.#spenders.get(user) ?? { window: new Window(), lastMs: {}, at: now };
    spender.window.add(ms, now);
    spender.at = now;
    // They are in the order of their last charge: those whose window is empty stand first.
    this.#spenders.delete(user);
    this.#spenders.set(user, spender);
    return spender;
  }

  #wait(user: string): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ user, since: performance.now(), go: resolve, refuse: () => reject(this.#refusal(user)) });
    if (this.#waiting.length > waitingMax) {
      const largest = this.#byWaiting((a, b) => b - a);
      this.#remove(largest);
      largest?.refuse();
    }
    return promise;
  }

  #refusal(user: string): UnibusError {
    const window = this.#spenders.get(user)?.window;
    const now = performance.now();
    const percent = Math.round(((window?.spent(now) ?? 0) / windowMs) * 100);
    const waitS = window?.secondsUntil(this.#limitMs, now) ?? 1;
    const what = `your reads took ${percent} % of the server's time in the last 10 s, and it is busy`;
    return new UnibusError("rate_limited", `${what} (try again in ${waitS} s)`, { retryAfterS: waitS });
  }

  #tick(): void {
    const now = performance.now();
    for (const [user, { at }] of this.#spenders) {
      if (now - at < windowMs + slotMs) break;
      this.#spenders.delete(user);
    }
    const late = this.#isLate();
    const isDone = ({ user, since, go, refuse }: Waiting): boolean => {
      if (this.#spent(user) <= this.#limitMs) go();
      else if (now - since > waitMsMax) refuse();
      else return false;
      return true;
    };
    this.#waiting = this.#waiting.filter((one) => !isDone(one));
    if (!late) {
      const smallest = this.#byWaiting((a, b) => a - b);
      this.#remove(smallest);
      smallest?.go();
    }
    if (this.#spenders.size === 0 && this.#waiting.length === 0) this.#watch.end();
  }

  /** The first of those who wait, by what they spent. */
  #byWaiting(order: (a: number, b: number) => number): Waiting | undefined {
    return this.#waiting.toSorted((a, b) => order(this.#spent(a.user), this.#spent(b.user)))[0];
  }

  #remove(one: Waiting | undefined): void {
    this.#waiting = this.#waiting.filter((other) => other !== one);
  }
}
