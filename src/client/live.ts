import type { NatsConnection } from "#nats";
import { UnibusError } from "../wire/errors.ts";
import type { Identity } from "./identity.ts";
import { type Dial, Line, type LiveMessage, type Refusal } from "./line.ts";
import { Merge } from "./merge.ts";
import { TokenBucket } from "./token-bucket.ts";
import { pause } from "./wait.ts";

/** What a live connection is made from. */
export interface LiveOptions extends Dial {
  readonly identity: Identity;
  /** The data plane's URLs, as GET /info gives them. */
  readonly servers: readonly string[];
  /** Reads over HTTP what the peer may do now: the truth that a notice only hints at. */
  readonly readTruth: () => Promise<void>;
  /** The subjects to follow, as far as is known at this moment. */
  readonly subjects: () => readonly string[];
  readonly onMessage: (message: LiveMessage) => void;
  /** What two copies of one message have in common, or null for what may come twice while connections are swapped. */
  readonly keyOf: (message: LiveMessage) => string | null;
  /** Told of notices after the new permissions are in force. */
  readonly onNotice?: (kind: string, data: Uint8Array) => void;
  /** Told when the connection is there again after a break: what was published meanwhile did not come. */
  readonly onGap?: () => void;
  /** Told when the connection broke. It comes back by itself. */
  readonly onDown?: () => void;
  /** Told of what a server did not allow: permissions may be newer than the connection, or gone. */
  readonly onRefusal?: (refusal: Refusal) => void;
  /** Told of what goes wrong and mends itself. */
  readonly onTrouble?: (error: unknown) => void;
}

/** Pauses between attempts, in milliseconds, with full jitter. Source: spec 9. */
const backoffMs = { first: 100, most: 10_000 } as const;
/** Connections are swapped well before their permissions expire, in milliseconds. */
const swapEveryMs = 45 * 60_000;
/** Reads that notices may cause: this many at once, then one a second. Source: spec 9. */
const noticeReads = { burst: 20, perSecond: 1 } as const;
/**
 * How long the old connection stays beside the new one, in milliseconds. A publish that was under way when the new one
 * subscribed, or came from a server that did not know of it yet, reaches the old one alone.
 */
const overlapMs = 1_000;
/** How many connections one peer has at most while it swaps. */
const linesMax = 8;

/** Notices after which nothing that a peer may do on the data plane is different. */
const withoutEffect = new Set(["rekeyed", "rekey_pending", "role"]);

/**
 * A peer's connection to the data plane that takes up new permissions by itself, without losing or doubling a message:
 * the next connection is made, subscribed and flushed, and works beside the old one for a moment before that goes.
 */
export class Live {
  readonly #reads = new TokenBucket(noticeReads.burst, noticeReads.perSecond);
  readonly #merge: Merge<Line>;
  /** Lines that are on their way out, oldest first. */
  readonly #retiring = new Map<Line, ReturnType<typeof setTimeout>>();
  /** The newest line that is ready: it is published on. */
  #line: Line | null = null;
  #followed: readonly string[] = [];
  #refreshing: Promise<void> | null = null;
  #again = false;
  #recovering: Promise<void> | null = null;
  #nextServer = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #closing = new AbortController();

  private constructor(private readonly options: LiveOptions) {
    this.#merge = new Merge(options.keyOf, options.onMessage);
    this.#nextServer = Math.floor(Math.random() * options.servers.length);
  }

  /** Connects, reads the peer's rooms, and follows them. Errors: those of the login and of `readTruth`. */
  static async connect(options: LiveOptions): Promise<Live> {
    const live = new Live(options);
    await live.#firstOf(options.servers.length);
    return live;
  }

  /** The connection in use, for publishing. It changes with every swap: do not keep it. Errors: unavailable. */
  get connection(): NatsConnection {
    const connection = this.#line?.connection;
    if (connection === undefined || connection.isClosed() || this.#closing.signal.aborted) {
      throw new UnibusError("unavailable", "there is no connection to the bus at the moment (try again)");
    }
    return connection;
  }

  /** Whether there is a connection at the moment. */
  get isUp(): boolean {
    return this.#line !== null && !this.#line.connection.isClosed() && !this.isClosed;
  }

  /** Whether it was closed for good. */
  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** The subjects that are followed now. */
  get followed(): readonly string[] {
    return this.#followed;
  }

  /** Follows what `subjects` says now. Ready when the server knows; without a connection, when there is one again. */
  async follow(): Promise<void> {
    const line = this.#line;
    if (line === null || line.connection.isClosed()) return;
    const subjects = this.options.subjects();
    await line.follow(subjects);
    if (line === this.#line) this.#followed = subjects;
  }

  /** Reads the truth and takes it up. Calls during one are one more, after it. */
  refresh(): Promise<void> {
    if (this.#refreshing !== null) {
      this.#again = true;
      return this.#refreshing;
    }
    this.#refreshing = this.#refreshUntilQuiet().finally(() => {
      this.#refreshing = null;
    });
    return this.#refreshing;
  }

  /** Ends the connection, after what is under way. */
  async close(): Promise<void> {
    this.#closing.abort();
    clearTimeout(this.#timer);
    for (const timer of this.#retiring.values()) clearTimeout(timer);
    await Promise.all(this.#merge.lines.map((line) => line.retire()));
  }

  async #refreshUntilQuiet(): Promise<void> {
    do {
      this.#again = false;
      await this.#reads.take();
      if (this.#closing.signal.aborted) return;
      // While there is no connection another is on its way, and reads the truth itself.
      if (this.#recovering === null) await this.#swap();
    } while (this.#again);
  }

  /** Connects to one of the servers, each tried once. */
  async #firstOf(attempts: number): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#swap();
      } catch (error) {
        if (attempt >= attempts) throw error;
      }
    }
  }

  /** Makes the next connection and lets the one before go. One that fails leaves the old one in force. */
  async #swap(): Promise<void> {
    const { servers } = this.options;
    // The login comes after: it is answered with these permissions, or newer ones.
    await this.options.readTruth();
    const next = await Line.dial(servers[this.#nextServer++ % servers.length] ?? "", this.options, {
      onMessage: (message, line) => this.#receive(message, line),
      onRefusal: (refusal) => this.options.onRefusal?.(refusal),
      onTrouble: (error) => this.#trouble(error),
    });
    this.#merge.add(next);
    try {
      await next.follow(this.options.subjects());
      this.#closing.signal.throwIfAborted();
    } catch (error) {
      this.#merge.remove(next);
      await next.connection.close();
      throw error;
    }
    const old = this.#line;
    this.#line = next;
    void this.#whenClosed(next);
    if (old !== null) this.#retireLater(old);
    // What was asked for while this one was made went to the one before.
    await this.follow();
    this.#swapLater();
  }

  /** Lets an old line go after a moment; the oldest sooner where there are too many. */
  #retireLater(old: Line): void {
    const timer = setTimeout(() => void this.#retire(old), overlapMs);
    this.#retiring.set(old, timer);
    const [oldest] = this.#retiring.keys();
    if (this.#retiring.size >= linesMax && oldest !== undefined) void this.#retire(oldest);
  }

  async #retire(old: Line): Promise<void> {
    clearTimeout(this.#retiring.get(old));
    if (!this.#retiring.delete(old)) return;
    await old.retire();
    // The old one may have been ahead: its successors first bring what it has told already.
    const others = this.#merge.lines.filter((line) => line !== old && !line.connection.isClosed());
    await Promise.allSettled(others.map((line) => line.connection.flush()));
    this.#merge.remove(old);
  }

  /** What broke says nothing more; where it was the one in use, another is made. */
  async #whenClosed(line: Line): Promise<void> {
    await line.connection.closed();
    if (line !== this.#line) return this.#retire(line);
    this.#merge.remove(line);
    if (this.#closing.signal.aborted) return;
    this.options.onDown?.();
    this.#recovering ??= this.#recover().finally(() => {
      this.#recovering = null;
    });
  }

  async #recover(): Promise<void> {
    for (let attempt = 0; !this.#closing.signal.aborted; attempt++) {
      try {
        await this.#swap();
        this.options.onGap?.();
        return;
      } catch (error) {
        this.#trouble(error);
      }
      await this.#backOff(attempt);
    }
  }

  /** Waits before the next attempt, at most until the end. */
  async #backOff(attempt: number): Promise<void> {
    const ms = Math.random() * Math.min(backoffMs.most, backoffMs.first * 2 ** Math.min(attempt, 10));
    await pause(ms, this.#closing.signal).catch(() => undefined);
  }

  #swapLater(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#try(), swapEveryMs * (0.9 + 0.2 * Math.random()));
    (this.#timer as { unref?: () => void }).unref?.();
  }

  #receive(message: LiveMessage, line: Line): void {
    const notice = /^unibus\.user\.[^.]+\.(\w+)$/.exec(message.subject)?.[1];
    if (notice === undefined) this.#merge.take(line, message);
    else void this.#noticed(notice, message.data, line);
  }

  async #noticed(kind: string, data: Uint8Array, line: Line): Promise<void> {
    if (line !== this.#line) return;
    if (!withoutEffect.has(kind)) await this.#try();
    this.options.onNotice?.(kind, data);
  }

  /** Takes up the truth, again and again until it could be read: a notice comes once. */
  async #try(): Promise<void> {
    for (let attempt = 0; !this.#closing.signal.aborted; attempt++) {
      try {
        return await this.refresh();
      } catch (error) {
        this.#trouble(error);
      }
      await this.#backOff(attempt);
    }
  }

  #trouble(error: unknown): void {
    if (!this.#closing.signal.aborted) this.options.onTrouble?.(error);
  }
}
