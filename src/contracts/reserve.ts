/**
 * The reserve: the last part of the store's disk space, which only removals may use, so that users who fill the store
 * cannot thereby prevent their own removal. The store measures its space; this file alone decides which writes are
 * admitted.
 * States: open; reserved (free space is at or below the reserve); last (at or below a fifth of the reserve).
 * The kernel asks before each request that may write; plugins ask where only they know what a request does.
 * Source: docs/protocol/limits.md.
 */
import { UnibusError } from "../wire/errors.ts";
import type { RouteSpace } from "../wire/route.ts";
import type { Caller } from "./auth.ts";
import { type Health, token } from "./plugin.ts";

/**
 * How a write uses the space. `grows`: it adds data. `frees`: a deletion or a revocation. `departs`: a kick, a leave,
 * or the statement that completes one. `nonce`: the nonce that each signed request writes.
 */
export type SpaceUse = Exclude<RouteSpace, "judged"> | "nonce";

/** The space of a store, in bytes. */
export interface Space {
  readonly free: number;
  /** The part of the space that is kept as the reserve. */
  readonly reserve: number;
}

/** The user who writes; null for a request without a caller. */
export type Writer = Pick<Caller, "endpoint" | "role"> | null;

/** Decides which writes the store's free space admits now. */
export interface Reserve {
  /**
   * Admits a write or throws. If it returns a function, call that if the write did not happen after all.
   * Units: `bytes` is the size of the write, if known.
   * Errors: unavailable if the space left is kept for more urgent writes; rate_limited for a user's second kick or
   * leave within a minute while in the reserve.
   */
  admit(use: SpaceUse, writer: Writer, bytes?: number): Promise<(() => void) | undefined>;
  /** Unhealthy while in the reserve, with the reason. */
  health(): Health;
}

/** The interval between departures (kicks or leaves) of one user while in the reserve, in milliseconds. */
const departureEveryMs = 60_000;
/** The most users whose last departure is remembered. */
const departuresMax = 10_000;
/** Hysteresis: growth is admitted again only when this multiple of the reserve is free, so the state does not flap. */
const reopenFactor = 1.25;
/** The share of the reserve that is kept for admins. */
const adminShare = 1 / 5;
/** The interval of measurements in milliseconds: shorter when free space is close to the reserve. */
const measureEveryMs = { far: 1_000, near: 100 } as const;
/** The distance to the reserve below which measurements are more frequent, in bytes. */
const nearBytes = 268_435_456;
/** The estimated cost of an admitted write, on top of twice its size, until the next measurement. In bytes. */
const writeBytes = 4_096;

/** The options of a reserve. */
export interface ReserveOptions {
  /** Measures the space; null if it has no known limit. If it throws, the last measurement stays valid. */
  readonly measure: () => Promise<Space | null>;
  /** What is full, and how to fix it. Both are safe to show. */
  readonly full: string;
  readonly hint: string;
  /** The time in milliseconds since the epoch. */
  readonly now: () => number;
}

/** A reserve over any space that can be measured. */
export class SpaceReserve implements Reserve {
  readonly #options: ReserveOptions;
  readonly #departures = new Map<string, number>();
  #space: Space | null = null;
  /** The estimated size of the writes admitted since the last measurement. */
  #spent = 0;
  #isReserved = false;
  #measuring: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isStopped = false;

  private constructor(options: ReserveOptions) {
    this.#options = options;
  }

  /** Measures the space and starts the periodic measurement, until `stop`. Errors: those of the first measurement. */
  static async start(options: ReserveOptions): Promise<SpaceReserve> {
    const reserve = new SpaceReserve(options);
    reserve.#space = await options.measure();
    reserve.#latch();
    reserve.#measureLater();
    return reserve;
  }

  /** Stops the periodic measurement. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  async admit(use: SpaceUse, writer: Writer, bytes = 0): Promise<(() => void) | undefined> {
    // Never refuse because of an estimate alone: measure first.
    if (this.#spent > 0 && this.#state() !== "open") await this.#measure();
    const state = this.#state();
    if (state === "open") {
      if (use === "grows") this.#spent += writeBytes + 2 * bytes;
      return undefined;
    }
    const isAllowed =
      state === "reserved" ? use !== "grows" : (use === "frees" || use === "nonce") && writer?.role === "admin";
    if (!isAllowed) {
      const { full, hint } = this.#options;
      const what =
        state === "reserved" ? "the rest is reserved for removals" : "the rest is reserved for removals by admins";
      throw new UnibusError("unavailable", `${full}: ${what} (${hint})`);
    }
    return use === "departs" && writer !== null ? this.#depart(writer.endpoint) : undefined;
  }

  health(): Health {
    const { full, hint } = this.#options;
    return this.#state() === "open" ? { ok: true } : { ok: false, detail: `${full} (${hint})` };
  }

  #state(): "open" | "reserved" | "last" {
    if (this.#space === null) return "open";
    const { reserve } = this.#space;
    const free = this.#space.free - this.#spent;
    if (!this.#isReserved && free > reserve) return "open";
    return free > reserve * adminShare ? "reserved" : "last";
  }

  /** Enters or leaves the reserve. Only a real measurement does. */
  #latch(): void {
    const { free, reserve } = this.#space ?? { free: 1, reserve: 0 };
    this.#isReserved = free <= reserve * (this.#isReserved ? reopenFactor : 1);
  }

  #depart(endpoint: string): () => void {
    const now = this.#options.now();
    const before = this.#departures.get(endpoint);
    const waitMs = before === undefined ? 0 : before + departureEveryMs - now;
    if (waitMs > 0) {
      const retryAfterS = Math.ceil(waitMs / 1_000);
      const message = `${this.#options.full}: each user may kick or leave once a minute (try again in ${retryAfterS} s)`;
      throw new UnibusError("rate_limited", message, { retryAfterS });
    }
    if (this.#departures.size >= departuresMax) {
      for (const [user, at] of this.#departures) if (at + departureEveryMs <= now) this.#departures.delete(user);
      // If all are recent, forget the oldest: that user may leave again a little too early.
      const [oldest] = this.#departures.keys();
      if (this.#departures.size >= departuresMax && oldest !== undefined) this.#departures.delete(oldest);
    }
    this.#departures.delete(endpoint);
    this.#departures.set(endpoint, now);
    return () => {
      if (this.#departures.get(endpoint) === now) this.#departures.delete(endpoint);
    };
  }

  #measureLater(): void {
    if (this.#isStopped) return;
    const above = this.#space === null ? Number.POSITIVE_INFINITY : this.#space.free - this.#space.reserve;
    const ms = above < nearBytes ? measureEveryMs.near : measureEveryMs.far;
    this.#timer = setTimeout(() => void this.#measure().then(() => this.#measureLater()), ms);
    this.#timer.unref?.();
  }

  /** Measures the space. Concurrent callers share one measurement. */
  #measure(): Promise<void> {
    this.#measuring ??= this.#measureOnce().finally(() => {
      this.#measuring = undefined;
    });
    return this.#measuring;
  }

  async #measureOnce(): Promise<void> {
    const before = this.#spent;
    try {
      this.#space = await this.#options.measure();
      this.#latch();
      // The measurement may not include writes that were admitted while it ran, so keep counting those.
      this.#spent -= before;
    } catch {
      // The store reports its own outage elsewhere. The last measurement stays valid.
    }
  }
}

/** The token of the store's reserve; provided if the store's space is known. */
export const StoreReserve = token<Reserve>("store-reserve");
