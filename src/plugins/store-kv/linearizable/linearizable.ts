/**
 * Linearizable reads of one bucket, for data that decides access: users and rooms. A revoked user must not be admitted
 * by a stale replica, nor by a leader that was partitioned away from the majority.
 * Two mechanisms: a lease proves that the leader still has a majority; under load, a cache is kept valid by a feed of
 * all writes. Each cached read first asks the leader for its stream position (shared by all concurrent readers, see
 * `ReadIndex`) and waits until the feed has reached it. Without a feed (few reads) every read goes to the leader.
 * Invariant: a cached value is returned only if the feed matches the leader's position, leader term and message count;
 * any doubt falls back to a read from the leader. `Bucket` uses it.
 */
import type { Replicas } from "../../../contracts/replicas.ts";
import { LruCache } from "../../../lib/lru-cache.ts";
import type { JetStream } from "../../../nats/jetstream.ts";
import { bucketStream } from "../../../wire/names.ts";
import type { Entry, LinearizableReads } from "../entry.ts";
import { Feed, type Listener } from "./feed.ts";
import { Lease } from "./lease.ts";
import { ReadIndex } from "./read-index.ts";
import { readStreamPosition } from "./stream-position.ts";

/** The size of the cache of one bucket, in bytes of JSON. */
const heldBytesMax = 16 * 1_048_576;
/**
 * How long to wait for the feed to reach the leader's position before reading from the leader instead, in milliseconds.
 */
const feedWaitMs = 30;
/** After this time a feed that lags, or has entries that the leader lacks, is reopened, in milliseconds. */
const doubtMsMax = 500;
/** The minimum time between two attempts to open a feed, in milliseconds. */
const reopenMs = 200;

/** The reads per second that justify a feed. Below it, every read goes to the leader. */
const readsForFeed = 20;
const secondMs = 1_000;
/** The feed is closed after this time without a read, in milliseconds. */
const idleMsMax = 10_000;
/** The most subjects that the feed is ahead of the leader's last known position. Beyond it, the feed is reopened. */
const aheadMax = 10_000;

/** The cache generation that is confirmed as current, or null if none is. */
type Certain = number | null;

/** A read from the leader in flight, and the newest write to its subject that the feed saw in the meantime. */
interface Fill {
  newest: number;
}

/**
 * Reads that never return a state older than the last write acknowledged before the read began. A cached value is
 * returned if the leader's position confirms that it is current, and is read from the leader otherwise. Both require a
 * valid leader lease.
 * Errors: those of a read from the leader; unavailable without a valid lease.
 */
export class Linearizable implements LinearizableReads {
  readonly #js: JetStream;
  readonly #stream: string;
  readonly #lease: Lease;
  readonly #index = new ReadIndex<Certain>(() => this.#confirm());
  readonly #held = new LruCache<Entry<unknown>>(heldBytesMax);
  readonly #fills = new Map<string, Set<Fill>>();
  /**
   * Subjects written after the leader's last known position, as the feed saw it, by sequence. A read may miss those
   * writes.
   */
  readonly #ahead = new Map<string, number>();
  /** The generation of the cache. It ends when the cache may have missed a write. */
  #life = 0;
  /**
   * Messages in the bucket minus those that the feed counted. It changes if messages vanish without an entry (a purge).
   */
  #uncounted: number | null = null;
  #feed: Feed | null = null;
  #opening = false;
  #openedAt = Number.NEGATIVE_INFINITY;
  #reads = { since: 0, count: 0, last: 0 };
  #doubtSince: number | null = null;
  #isStopped = false;

  constructor(js: JetStream, bucket: string, replicas: Replicas, signal?: AbortSignal) {
    this.#js = js;
    this.#stream = bucketStream(bucket);
    this.#lease = new Lease(js, bucket, replicas);
    signal?.addEventListener("abort", () => {
      this.#isStopped = true;
      this.#drop();
    });
  }

  async read<T>(subject: string, fromLeader: () => Promise<Entry<T>>): Promise<Entry<T>> {
    const areMany = this.#count();
    if (this.#feed === null) {
      if (areMany) this.#reopen();
    } else if (this.#uncounted === null || this.#doubtSince !== null) this.#index.next().catch(() => undefined);
    else if (this.#held.has(subject)) {
      const certain = await this.#index.next();
      const held = certain === this.#life ? this.#held.get(subject) : undefined;
      if (held !== undefined) return held as Entry<T>;
    }
    return this.#read(subject, fromLeader);
  }

  /** Counts a read, and reports whether the recent rate justifies a feed. */
  #count(): boolean {
    const now = performance.now();
    if (now - this.#reads.since > secondMs) this.#reads = { since: now, count: 0, last: now };
    this.#reads.last = now;
    this.#reads.count += 1;
    return this.#reads.count >= readsForFeed;
  }

  /** Reads from the leader, and caches the result unless a newer write is known. */
  async #read<T>(subject: string, read: () => Promise<Entry<T>>): Promise<Entry<T>> {
    const life = this.#uncounted === null ? null : this.#life;
    const fill: Fill = { newest: this.#ahead.get(subject) ?? 0 };
    const fills = this.#fills.get(subject) ?? new Set();
    this.#fills.set(subject, fills.add(fill));
    try {
      const entry = await this.#lease.during(read);
      const newest = Math.max(fill.newest, this.#held.get(subject)?.revision ?? 0);
      // Absent values are not cached: anyone can ask for keys that do not exist.
      if (life === this.#life && entry.value !== null && entry.revision >= newest) {
        this.#held.set(subject, entry, entry.bytes);
      }
      return entry;
    } finally {
      fills.delete(fill);
      if (fills.size === 0) this.#fills.delete(subject);
    }
  }

  /** Asks the leader for its position and waits for the feed to reach it. Errors: those of the lease. */
  async #confirm(): Promise<Certain> {
    const feed = this.#feed;
    if (feed === null) return null;
    const seen = feed.position;
    const pulse = await this.#lease.during(() => readStreamPosition(this.#js, this.#stream).catch(() => null));
    if (this.#feed !== feed) return null;
    if (pulse === null) return this.#doubt();
    if (pulse.reign !== feed.base.reign) return this.#drop();
    // The leader's position is behind the feed: it lags behind a replica, or the stream was restored to an older state.
    if (pulse.seq < seen) return this.#doubt();
    const isReached = await feed.reached(pulse.seq, feedWaitMs);
    if (this.#feed !== feed) return null;
    const mark = feed.markOf(pulse.seq);
    if (!isReached || mark === undefined) return this.#doubt();
    if (mark.at !== pulse.at) return this.#drop();
    this.#compare(pulse.messages - mark.added);
    this.#doubtSince = null;
    for (const [subject, seq] of this.#ahead) {
      if (seq > pulse.seq) break;
      this.#ahead.delete(subject);
    }
    return this.#life;
  }

  /** Clears the cache if messages vanished without a feed entry: a purge. */
  #compare(uncounted: number): void {
    if (this.#uncounted !== null && this.#uncounted !== uncounted) this.#forget();
    this.#uncounted = uncounted;
  }

  #doubt(): null {
    const now = performance.now();
    this.#doubtSince ??= now;
    return now - this.#doubtSince > doubtMsMax ? this.#drop() : null;
  }

  #forget(): void {
    this.#held.clear();
    this.#uncounted = null;
    this.#life += 1;
  }

  /** Closes the feed. The next read opens another. */
  #drop(): null {
    this.#feed?.close();
    this.#feed = null;
    this.#doubtSince = null;
    this.#ahead.clear();
    this.#forget();
    return null;
  }

  #reopen(): void {
    const now = performance.now();
    if (this.#opening || this.#isStopped || now - this.#openedAt < reopenMs) return;
    this.#opening = true;
    this.#openedAt = now;
    this.#open()
      .catch(() => undefined)
      .finally(() => {
        this.#opening = false;
      });
  }

  async #open(): Promise<void> {
    const base = await readStreamPosition(this.#js, this.#stream);
    const listener: Listener = {
      changed: (subject, seq) => this.#changed(subject, seq),
      uncounted: () => this.#forget(),
      lost: () => this.#drop(),
    };
    const feed = await Feed.open(this.#js, this.#stream, base, listener);
    if (this.#isStopped || !feed.isOpen) return feed.close();
    this.#feed = feed;
  }

  #changed(subject: string, seq: number): void {
    if ((this.#held.get(subject)?.revision ?? seq) < seq) this.#held.delete(subject);
    for (const fill of this.#fills.get(subject) ?? []) fill.newest = Math.max(fill.newest, seq);
    this.#ahead.delete(subject);
    this.#ahead.set(subject, seq);
    if (this.#ahead.size > aheadMax || performance.now() - this.#reads.last > idleMsMax) this.#drop();
  }
}
