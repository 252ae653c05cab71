import type { Replicas } from "../../contracts/replicas.ts";
import { bucketStream } from "../../wire/names.ts";
import type { Calls } from "./calls.ts";
import type { Entry } from "./entry.ts";
import { Feed, type Listener } from "./feed.ts";
import { Lease } from "./lease.ts";
import { readPulse } from "./pulse.ts";
import { ReadIndex } from "./read-index.ts";
import { Recent } from "./recent.ts";

/** How much JSON of one bucket is held at once, in bytes. */
const heldBytesMax = 16 * 1_048_576;
/** How long the feed may take to see what the leader has, in milliseconds, before the leader is asked instead. */
const feedWaitMs = 30;
/** After how long a feed that lags, or tells of what the leader does not have, is begun anew, in milliseconds. */
const doubtMsMax = 500;
/** How long it takes at least from one attempt to begin a feed to the next, in milliseconds. */
const reopenMs = 200;

/** Reads within a second from which on a feed is worth what it costs: with fewer all are made of the leader. */
const readsForFeed = 20;
const secondMs = 1_000;
/** After how long without a read the feed ends, in milliseconds. */
const idleMsMax = 10_000;
/** Subjects of which the feed told and the leader did not yet, at most: with more the feed is begun anew. */
const aheadMax = 10_000;

/** What is certain of a bucket, and in which life of what is held: null for nothing. */
type Certain = number | null;

/** A read of the leader that may have begun before a write, and the newest write since. */
interface Fill {
  newest: number;
}

/**
 * Reads that never give a state older than the last write that was acknowledged before they began. What was read
 * before is given again where the leader's position says that nothing else was written, and is read from the leader
 * where that is not certain. Neither is done unless the leader is certain, too.
 * Errors: those of a read from the leader; unavailable without a leader that is certain.
 */
export class CertainReads {
  readonly #calls: Calls;
  readonly #stream: string;
  readonly #lease: Lease;
  readonly #index = new ReadIndex<Certain>(() => this.#confirm());
  readonly #held = new Recent<Entry<unknown>>(heldBytesMax);
  readonly #fills = new Map<string, Set<Fill>>();
  /** Subjects that the feed saw written beyond the leader's last position, by sequence: a read may miss those. */
  readonly #ahead = new Map<string, number>();
  /** A life of what is held ends when a write may have been missed. */
  #life = 0;
  /** Messages of the bucket beyond those that the feed counted: one that goes without a message changes it. */
  #uncounted: number | null = null;
  #feed: Feed | null = null;
  #opening = false;
  #openedAt = Number.NEGATIVE_INFINITY;
  #reads = { since: 0, count: 0, last: 0 };
  #doubtSince: number | null = null;
  #isStopped = false;

  constructor(calls: Calls, bucket: string, replicas: Replicas, signal?: AbortSignal) {
    this.#calls = calls;
    this.#stream = bucketStream(bucket);
    this.#lease = new Lease(calls, bucket, replicas);
    signal?.addEventListener("abort", () => {
      this.#isStopped = true;
      this.#drop();
    });
  }

  /** What a subject of the bucket holds. `read` reads it from the leader. */
  async get<T>(subject: string, read: () => Promise<Entry<T>>): Promise<Entry<T>> {
    const areMany = this.#count();
    if (this.#feed === null) {
      if (areMany) this.#reopen();
    } else if (this.#uncounted === null || this.#doubtSince !== null) this.#index.next().catch(() => undefined);
    else if (this.#held.has(subject)) {
      const certain = await this.#index.next();
      const held = certain === this.#life ? this.#held.get(subject) : undefined;
      if (held !== undefined) return held as Entry<T>;
    }
    return this.#read(subject, read);
  }

  /** Counts a read. Gives whether there are many of late. */
  #count(): boolean {
    const now = performance.now();
    if (now - this.#reads.since > secondMs) this.#reads = { since: now, count: 0, last: now };
    this.#reads.last = now;
    this.#reads.count += 1;
    return this.#reads.count >= readsForFeed;
  }

  /** Reads from the leader, and holds what it reads unless there is something newer. */
  async #read<T>(subject: string, read: () => Promise<Entry<T>>): Promise<Entry<T>> {
    const life = this.#uncounted === null ? null : this.#life;
    const fill: Fill = { newest: this.#ahead.get(subject) ?? 0 };
    const fills = this.#fills.get(subject) ?? new Set();
    this.#fills.set(subject, fills.add(fill));
    try {
      const entry = await this.#lease.during(read);
      const newest = Math.max(fill.newest, this.#held.get(subject)?.revision ?? 0);
      // What is not there is not held: anybody may ask for keys that nobody has.
      if (life === this.#life && entry.value !== null && entry.revision >= newest) {
        this.#held.set(subject, entry, entry.bytes);
      }
      return entry;
    } finally {
      fills.delete(fill);
      if (fills.size === 0) this.#fills.delete(subject);
    }
  }

  /** Asks the leader for its position and waits for the feed to reach it. Errors: as of the lease. */
  async #confirm(): Promise<Certain> {
    const feed = this.#feed;
    if (feed === null) return null;
    const seen = feed.position;
    const pulse = await this.#lease.during(() => readPulse(this.#calls, this.#stream).catch(() => null));
    if (this.#feed !== feed) return null;
    if (pulse === null) return this.#doubt();
    if (pulse.reign !== feed.base.reign) return this.#drop();
    // Less than the feed saw: a leader that lags behind a copy, or the stream's past that came back.
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

  /** Lets go of everything where messages went without one that says so: a purge. */
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

  /** Ends the feed: the next read begins another. */
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
    const base = await readPulse(this.#calls, this.#stream);
    const listener: Listener = {
      changed: (subject, seq) => this.#changed(subject, seq),
      uncounted: () => this.#forget(),
      lost: () => this.#drop(),
    };
    const feed = await Feed.open(this.#calls, this.#stream, base, listener);
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
