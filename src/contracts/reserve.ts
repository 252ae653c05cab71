/**
 * The reserve of the store: the last bytes of its space, which only removals may use, so that whoever fills the store
 * cannot stop their own removal. The store measures its space; what may be written when is decided here, once.
 * States: open; reserved (free space is at or below the reserve); last (at or below a fifth of the reserve).
 * The kernel asks before each request that may write; rules ask where only they know what a request is. Source: spec 9.
 */
import { UnibusError } from "../wire/errors.ts";
import type { Caller } from "./auth.ts";
import { type Health, token } from "./plugin.ts";

/**
 * What a write does to the space. `grows`: it stays. `frees`: a deletion or a revocation. `departs`: a kick, a leave,
 * or the statement that completes one. `nonce`: what each signed request writes.
 */
export type SpaceUse = "grows" | "frees" | "departs" | "nonce";

/** The space of a store, in bytes. */
export interface Space {
  readonly free: number;
  /** How much of it is the reserve. */
  readonly reserve: number;
}

/** Who writes: null for a request without a caller. */
export type Writer = Pick<Caller, "endpoint" | "role"> | null;

/** What a store's space admits now. */
export interface Reserve {
  /**
   * Admits a write or throws. Where it gives a function, the write did not take place if that is called.
   * Units: `bytes` is the size of what is to be written, where it is known.
   * Errors: unavailable when the space left is for more urgent writes; rate_limited for a second kick or leave of one
   * user within a minute in the reserve.
   */
  admit(use: SpaceUse, writer: Writer, bytes?: number): Promise<(() => void) | undefined>;
  /** Not ready in the reserve, and it says why. */
  health(): Health;
}

/** How often one user may kick or leave in the reserve, in milliseconds. */
const departureEveryMs = 60_000;
/** Users whose last departure is remembered. */
const departuresMax = 10_000;
/** How much more than the reserve must be free before anything grows again, so that the state does not flap. */
const reopenFactor = 1.25;
/** The part of the reserve that is kept for admins. */
const adminShare = 1 / 5;
/** How often the space is measured, in milliseconds: more often where little is left above the reserve. */
const measureEveryMs = { far: 1_000, near: 100 } as const;
/** Free space above the reserve below which it is measured more often, in bytes. */
const nearBytes = 268_435_456;
/** What an admitted write is taken to cost beside twice its size, until the space is measured again, in bytes. */
const writeBytes = 4_096;

/** How a reserve is made. */
export interface ReserveOptions {
  /** Measures the space; null where it has no known limit. Errors: any, and what was measured last holds. */
  readonly measure: () => Promise<Space | null>;
  /** What is full, and how to fix it: safe to show. */
  readonly full: string;
  readonly hint: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** A reserve over whatever can measure its space. */
export class SpaceReserve implements Reserve {
  readonly #options: ReserveOptions;
  readonly #departures = new Map<string, number>();
  #space: Space | null = null;
  /** What was admitted since the space was measured, by estimate. */
  #spent = 0;
  #isReserved = false;
  #measuring: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isStopped = false;

  private constructor(options: ReserveOptions) {
    this.#options = options;
  }

  /** Measures the space, and goes on measuring it until `stop`. Errors: those of the first measurement. */
  static async start(options: ReserveOptions): Promise<SpaceReserve> {
    const reserve = new SpaceReserve(options);
    reserve.#space = await options.measure();
    reserve.#latch();
    reserve.#measureLater();
    return reserve;
  }

  /** Measures no more. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  async admit(use: SpaceUse, writer: Writer, bytes = 0): Promise<(() => void) | undefined> {
    // An estimate refuses nobody: it has the space measured.
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
      const what = state === "reserved" ? "what is left is for removals" : "what is left is for removals by admins";
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

  /** Only what was measured opens and closes the reserve. */
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
      // Whoever left longest ago may leave again a moment too early.
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

  /** Measures the space, once for all who ask at the same time. */
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
      // What was admitted meanwhile may not be in it yet.
      this.#spent -= before;
    } catch {
      // A store that does not answer says so elsewhere. What was measured last holds.
    }
  }
}

/** The reserve of the store, where its space is known. */
export const StoreReserve = token<Reserve>("store-reserve");
