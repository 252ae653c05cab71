import { UnibusError } from "../wire/errors.ts";

/** The burst of a client, in seconds of its rate. */
const burstS = 2;
/** The most clients to remember. Beyond it, the least recently seen ones are forgotten. */
const clientsMax = 100_000;

interface Bucket {
  tokens: number;
  at: number;
}

/** A token bucket per client. Memory is bounded, however many addresses connect. */
export class Limiter {
  /**
   * Two generations of buckets, each at most half of `clientsMax`: those seen since the last rotation, and those
   * before.
   */
  #recent = new Map<string, Bucket>();
  #earlier = new Map<string, Bucket>();

  constructor(readonly perSecond: number) {}

  /** Takes one token. Returns 0 if one was available, else the seconds to wait before a retry. */
  take(client: string, nowMs: number): number {
    const bucket = this.#bucket(client, nowMs);
    if (bucket.tokens >= 1) {
      bucket.tokens -= 1;
      return 0;
    }
    return Math.max(1, Math.ceil((1 - bucket.tokens) / this.perSecond));
  }

  /**
   * Takes one token, which may become available only later. Returns the milliseconds to wait for it, or null, without
   * taking one, if the wait exceeds `waitMsMax`. Clients are served in call order.
   */
  reserve(client: string, nowMs: number, waitMsMax: number): number | null {
    const waitMs = this.waitMs(client, nowMs);
    if (waitMs > waitMsMax) return null;
    this.#bucket(client, nowMs).tokens -= 1;
    return waitMs;
  }

  /** The milliseconds until a client's next token is available. Takes none. */
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

  /** Takes one token. Errors: rate_limited, with the seconds to wait before a retry. */
  demand(client: string, nowMs: number): void {
    const waitS = this.take(client, nowMs);
    if (waitS === 0) return;
    throw new UnibusError("rate_limited", `too many requests (try again in ${waitS} s)`, { retryAfterS: waitS });
  }
}
