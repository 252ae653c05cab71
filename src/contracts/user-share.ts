/**
 * Limits the share of the single main thread that one user's costly reads may take: lists, history, statements, keys.
 *
 * Each read is charged by a fixed table, a base plus a cost for each byte sent, to a sliding window of 10 s. While the
 * event loop is late, a read waits if its user's window exceeds the share. Once the loop is on time, the waiting user
 * who spent least continues first. A read that waits too long is refused, and so is the largest spender's when too many
 * wait. Nothing waits while the loop is on time, and calls without a charge (changes, revocations, leaves, logins)
 * never wait.
 */

import { UnibusError } from "../wire/errors.ts";
import type { Cost } from "../wire/route.ts";

/** Main-thread cost of a read, in milliseconds: a base, and a cost per MiB sent. Measured. */
export const costTable: Readonly<Record<Cost, { readonly baseMs: number; readonly mibMs: number }>> = {
  list: { baseMs: 0.3, mibMs: 12 },
  statements: { baseMs: 0.3, mibMs: 6 },
  history: { baseMs: 0.5, mibMs: 4 },
  key: { baseMs: 0.2, mibMs: 4 },
  // Its rows are short, and each of them takes several reads of the store.
  survey: { baseMs: 0.5, mibMs: 500 },
};

/** Default part of the window that one user may take. Source: docs/protocol/limits.md. */
const userShareDefault = 0.25;

const windowMs = 10_000;
const slots = 10;
const slotMs = windowMs / slots;
/** The delay at which the loop counts as late, and how long it counts as late afterwards, in milliseconds. */
const lateMs = 20;
const lateHoldMs = 250;
const tickMs = 10;
/** How long a read waits at most, in milliseconds, and how many reads may wait. */
const waitMsMax = 2_000;
const waitingMax = 64;
const mib = 1_048_576;

/** A user's charges in the last 10 s, in slots of one second. */
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

  /** Seconds until at most `limitMs` remain in the window if nothing is added. */
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

/** Measures whether the event loop is late, only while it is in use. */
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

  /** Whether the loop was late a moment ago or is late now. */
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

/** A user's window, the time of the last charge, and the last cost of each kind of read. */
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

/** Options of `UserShare`. A test replaces `isLate`. */
export interface UserShareOptions {
  /** Part of the last 10 s, from 0 to 1. */
  readonly share?: number | undefined;
  readonly isLate?: () => boolean;
}

/** Charges users for costly reads and delays those above their share while the server is busy. */
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
   * Admits a read, after a wait if its user exceeds the share while the loop is late. It is charged up front with the
   * user's last cost for this kind of read, so that parallel reads count before the first is answered. The returned
   * function corrects the charge by the bytes sent, or null if the read failed. Errors: rate_limited, with the seconds
   * after which to retry.
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

  /** Stops measuring and lets all waiting reads continue. */
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
    // The map is ordered by last charge, so users with an empty window come first.
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
    const what = `server busy: your reads took ${percent} % of its time in the last 10 s`;
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

  /** The first waiting read in the given order of its user's spending. */
  #byWaiting(order: (a: number, b: number) => number): Waiting | undefined {
    return this.#waiting.toSorted((a, b) => order(this.#spent(a.user), this.#spent(b.user)))[0];
  }

  #remove(one: Waiting | undefined): void {
    this.#waiting = this.#waiting.filter((other) => other !== one);
  }
}
