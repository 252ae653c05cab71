import { UnibusError } from "../wire/errors.ts";

/** How many seconds of its rate a client may use at once. */
const burstS = 2;
/** How many clients are remembered: past it those unseen for longest are forgotten. */
const clientsMax = 100_000;

interface Bucket {
  tokens: number;
  at: number;
}

/** Token buckets by client. Memory is bounded whatever addresses come. */
export class Limiter {
  /** Those seen since the last turn, and those of the turn before: half of all that are remembered, each at most. */
  #recent = new Map<string, Bucket>();
  #earlier = new Map<string, Bucket>();

  constructor(readonly perSecond: number) {}

  /** Takes one token: 0 when there was one, else the seconds after which to try again. */
  take(client: string, nowMs: number): number {
    const bucket = this.#bucket(client, nowMs);
    if (bucket.tokens >= 1) {
      bucket.tokens -= 1;
      return 0;
    }
    return Math.max(1, Math.ceil((1 - bucket.tokens) / this.perSecond));
  }

  /**
   * Takes one token, also one that is yet to come: gives the milliseconds to wait for it, or null, taking none, if they
   * are more than `waitMsMax`. Clients are served in the order of their calls.
   */
  reserve(client: string, nowMs: number, waitMsMax: number): number | null {
    const waitMs = this.waitMs(client, nowMs);
    if (waitMs > waitMsMax) return null;
    this.#bucket(client, nowMs).tokens -= 1;
    return waitMs;
  }

  /** The milliseconds until there would be a token for a client that is not taken yet. */
  waitMs(client: string, nowMs: number): number {
    return Math.max(0, ((1 - this.#bucket(client, nowMs).tokens) / this.perSecond) * 1000);
  }

  #bucket(client: string, nowMs: number): Bucket {
    const burst = Math.max(1, this.perSecond * burstS);
    const bucket = this.#recent.get(client) ?? this.#earlier.get(client) ?? { tokens: burst, at: nowMs };
    bucket.tokens = Math.min(burst, bucket.tokens + (Math.max(0, nowMs - bucket.at) / 1000) * this.perSecond);
    bucket.at = nowMs;
    this.#recent.set(client, bucket);
    if (this.#recent.size >= clientsMax / 2) {
      this.#earlier = this.#recent;
      this.#recent = new Map();
    }
    return bucket;
  }

  /** Takes one token. Errors: rate_limited, with the seconds after which to try again. */
  demand(client: string, nowMs: number): void {
    const waitS = this.take(client, nowMs);
    if (waitS === 0) return;
    throw new UnibusError("rate_limited", `too many requests (try again in ${waitS} s)`, { retryAfterS: waitS });
  }
}
