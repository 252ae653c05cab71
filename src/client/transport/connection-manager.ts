/**
 * Keeps a peer connected to the data plane with current permissions, which a NATS connection gets at its login. A swap
 * dials the next connection, subscribes and flushes it, and keeps the old one open for `overlapMs`; `Merge` joins their
 * messages. Swaps run one at a time. A notice triggers a read of the grant, and a swap if the grant changed. After a
 * break it reconnects with backoff. `Bus` owns the one instance; publishers and durables send on its `line`.
 */
import { backoffMs } from "../../lib/backoff.ts";
import { Mutex } from "../../lib/mutex.ts";
import { TokenBucket } from "../../lib/token-bucket.ts";
import { hasCode, UnibusError } from "../../wire/errors.ts";
import type { Identity } from "../crypto/identity.ts";
import { Connection, type Dial } from "./connection.ts";
import type { LiveMessage } from "./live-message.ts";
import { Merge } from "./merge.ts";
import type { Refusal } from "./nats-connection.ts";
import { type Notice, NoticeCopies, noticeIn } from "./notice.ts";
import { type Attempt, failureOf, ServerList } from "./server-list.ts";
import { pause, waitFor } from "./wait.ts";

/** The options of a `ConnectionManager`. */
export interface ConnectionManagerOptions extends Dial {
  readonly identity: Identity;
  /** The data plane's URLs, as GET /info returns them. */
  readonly servers: readonly string[];
  /** Reads the data plane's URLs again. Called after a failed attempt to reconnect. */
  readonly findServers?: () => Promise<readonly string[]>;
  /**
   * Reads over HTTP what a login grants now; a notice is only a hint. Returns a fingerprint that changes with the
   * grant.
   */
  readonly readGrant: () => Promise<string>;
  /** The subjects to subscribe to at this moment. */
  readonly subjects: () => readonly string[];
  /** Further subjects, which the server may refuse to this login. That causes no new one. */
  readonly extras?: () => readonly string[];
  readonly onMessage: (message: LiveMessage) => void;
  /** A key that is equal for two copies of a message; null if a copy may be delivered twice during a swap. */
  readonly keyOf: (message: LiveMessage) => string | null;
  /** Called for a notice after the new permissions are in effect. */
  readonly onNotice?: (notice: Notice) => void;
  /** Called when another connection is ready, and when there will be no other one because this was closed. */
  readonly onLine?: () => void;
  /** Called when the connection broke, before the next one delivers anything. The client reconnects by itself. */
  readonly onDown?: () => void;
  /** Called when the connection is restored. Messages published during the outage were not delivered. */
  readonly onUp?: () => void;
  /** Called when an old connection closed before it was drained: messages may be lost without an outage. */
  readonly onGap?: () => void;
  /** Called when the server denied an operation: the permission may be newer than the connection, or revoked. */
  readonly onRefusal?: (refusal: Refusal) => void;
  /** Reports a failed attempt to reconnect: the dialled address, or null if the attempt failed before dialling. */
  readonly onAttempt?: (url: string | null, error: unknown) => void;
  /** Reports errors from which the client recovers by itself. */
  readonly onTrouble?: (error: unknown) => void;
}

/** Backoff between attempts, in milliseconds, with full jitter. Source: docs/protocol/logins.md. */
const retryMs = { first: 100, most: 10_000 } as const;
/** Replace connections well before their permissions expire, in milliseconds. */
const swapEveryMs = 45 * 60_000;
/** Rate limit of the reads that notices cause: this many at once, then one a second. */
const noticeReads = { burst: 20, perSecond: 1 } as const;
/**
 * How long the old connection stays open beside the new one, in milliseconds. A message that was in flight when the new
 * one subscribed, or that came from a server that did not know the subscription yet, reaches only the old one.
 */
const overlapMs = 1_000;
/** Timeout for a server to process a new connection's subscriptions, in milliseconds. */
const followTimeoutMs = 10_000;
/** Maximum number of connections that one peer holds during swaps. */
const linesMax = 8;

/**
 * Notices that do not change permissions on the data plane: a room must be accepted before it is granted. Any other
 * kind makes this client read what it may do, and log in again if that has changed.
 */
const withoutEffect = new Set(["joined", "rekeyed", "rekey_pending", "role"]);
/** The notice of a new consumer. The next login may ack it, although the rooms are the same. */
const newConsumer = "durable";

/** `onlyIfChanged`: skip the swap if the current connection has the same grant. */
interface SwapOptions {
  readonly url?: string;
  readonly onlyIfChanged?: boolean;
}

/**
 * A peer's connection to the data plane. It moves to a new one when permissions change, without losing or duplicating a
 * message.
 */
export class ConnectionManager {
  readonly #reads = new TokenBucket(noticeReads.burst, noticeReads.perSecond);
  readonly #merge: Merge<Connection>;
  /** Old connections that are about to close, oldest first. */
  readonly #retiring = new Map<Connection, ReturnType<typeof setTimeout>>();
  /** The newest connection that is ready; used to publish. */
  #line: Connection | null = null;
  #followed: readonly string[] = [];
  /** The address being dialled. */
  #dialled: string | null = null;
  /** The grant of the current connection, as read before its login. */
  #grant: string | null = null;
  #refreshing: Promise<void> | null = null;
  /** Whether to refresh once more after the current one; force a new connection; skip the rate limit. */
  #again = false;
  #isForced = false;
  #isOwn = false;
  #recovering: Promise<void> | null = null;
  /** The swap in progress. The next waits for it, so that an older connection never subscribes after a newer one. */
  readonly #swapping = new Mutex();
  readonly #noticed = new NoticeCopies<Connection>(overlapMs);
  readonly #servers: ServerList;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #closing = new AbortController();

  private constructor(private readonly options: ConnectionManagerOptions) {
    this.#merge = new Merge(options.keyOf, options.onMessage);
    this.#servers = new ServerList(options.servers);
  }

  /** Connects, reads the peer's rooms, and subscribes to them. Errors: those of the login and of `readGrant`. */
  static async connect(options: ConnectionManagerOptions): Promise<ConnectionManager> {
    const live = new ConnectionManager(options);
    await live.#first();
    return live;
  }

  /** The current connection, for publishing. It changes with every swap: do not keep it. Errors: unavailable. */
  get line(): Connection {
    if (this.#line === null || !this.isUp) {
      throw new UnibusError("unavailable", "not connected to the server at the moment (try again)");
    }
    return this.#line;
  }

  /** Whether there is a connection now. */
  get isUp(): boolean {
    return this.#line !== null && !this.#line.isClosed && !this.isClosed;
  }

  /** Whether it was closed for good. */
  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** The current subscriptions. */
  get followed(): readonly string[] {
    return this.#followed;
  }

  /** Subscribes to `subjects`. Resolves when the server has processed it; during an outage, after the reconnect. */
  async follow(): Promise<void> {
    while (!this.isClosed) {
      const line = this.#line;
      if (line === null) return;
      try {
        await this.#followOn(line);
        // A room joined after this login is refused. A new connection may subscribe to it.
        if (this.options.subjects().some((subject) => !line.carries(subject))) await this.refresh();
        return;
      } catch (error) {
        if (!line.isClosed) throw error;
      }
      // The next connection subscribes to all subjects when it is made.
      await line.connection.closed();
      await this.#recovering;
      if (line === this.#line) return;
    }
  }

  get #subjects(): readonly string[] {
    return [...this.options.subjects(), ...(this.options.extras?.() ?? [])];
  }

  async #followOn(line: Connection): Promise<void> {
    const subjects = this.#subjects;
    await line.follow(subjects);
    if (line === this.#line) this.#followed = subjects;
  }

  /** Starts to subscribe to `subjects` before it returns, so that later publishes find the subscriptions. */
  followNow(): void {
    this.follow().catch((error: unknown) => this.#trouble(error));
  }

  /** Makes a new connection with the current permissions. Calls during a refresh cause one more after it. */
  refresh(): Promise<void> {
    this.#isForced = true;
    // This peer's own request does not wait for the rate limit of notices.
    this.#isOwn = true;
    return this.#refresh();
  }

  /** Reads the grant, and makes a new connection if the grant changed or `#isForced` is set. */
  #refresh(): Promise<void> {
    if (this.#refreshing !== null) {
      this.#again = true;
      return this.#refreshing;
    }
    this.#refreshing = this.#refreshUntilQuiet().finally(() => {
      this.#refreshing = null;
    });
    return this.#refreshing;
  }

  /** Closes the connections after draining them. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.options.onLine?.();
    clearTimeout(this.#timer);
    for (const timer of this.#retiring.values()) clearTimeout(timer);
    await Promise.all(this.#merge.lines.map((line) => line.retire()));
  }

  async #refreshUntilQuiet(): Promise<void> {
    do {
      this.#again = false;
      const isOwn = this.#isOwn;
      this.#isOwn = false;
      if (!isOwn) await this.#reads.take();
      if (this.#closing.signal.aborted) return;
      // Without a connection, the reconnect in progress reads the grant itself.
      const isForced = this.#isForced;
      this.#isForced = false;
      if (this.#recovering === null) await this.#swap({ onlyIfChanged: !isForced });
    } while (this.#again);
  }

  /** Connects to one of the servers, trying each once. Errors: those of all attempts. */
  async #first(): Promise<void> {
    const attempts: Attempt[] = [];
    for (let count = 0; count < this.#servers.size; count++) {
      const url = this.#servers.next();
      try {
        return await this.#swap({ url });
      } catch (error) {
        // Try another address only if this one is unreachable, not if it refused the login or cannot be trusted.
        if (!hasCode(error, "unavailable")) throw error;
        attempts.push({ url, error });
      }
    }
    throw failureOf(attempts);
  }

  /** Makes the next connection and retires the current one. If it fails, the current one stays in use. */
  #swap(options: SwapOptions = {}): Promise<void> {
    return this.#swapping.hold(() => this.#swapNow(options));
  }

  async #swapNow({ url: given, onlyIfChanged = false }: SwapOptions): Promise<void> {
    this.#dialled = null;
    // Read the grant before the login: the login gets these permissions, or newer ones.
    const grant = await this.options.readGrant();
    if (onlyIfChanged && this.isUp && grant === this.#grant) return;
    const url = given ?? this.#servers.next();
    this.#dialled = url;
    const next = await Connection.dial(url, this.options, {
      onMessage: (message, line) => this.#merge.take(line, message),
      onNotice: (message, line) => {
        const notice = noticeIn(message);
        if (notice !== null) void this.#take(notice, line);
      },
      onRefusal: (refusal) => this.options.onRefusal?.(refusal),
      onTrouble: (error) => this.#trouble(error),
    });
    this.#merge.add(next);
    try {
      await waitFor(next.follow(this.#subjects), AbortSignal.timeout(followTimeoutMs));
      this.#closing.signal.throwIfAborted();
    } catch (error) {
      this.#merge.remove(next);
      await next.connection.close();
      throw error;
    }
    this.#servers.worked(url);
    const old = this.#line;
    this.#line = next;
    this.#grant = grant;
    void this.#whenClosed(next);
    // A broken connection is already removed.
    if (old !== null && this.#merge.lines.includes(old)) this.#retireLater(old);
    try {
      // Requests to subscribe during the swap went to the old connection.
      await this.#followOn(next);
    } finally {
      this.options.onLine?.();
    }
    this.#swapLater();
  }

  /** Closes an old connection after the overlap, and the oldest one sooner if there are too many. */
  #retireLater(old: Connection): void {
    const timer = setTimeout(() => void this.#retire(old), overlapMs);
    this.#retiring.set(old, timer);
    const [oldest] = this.#retiring.keys();
    if (this.#retiring.size >= linesMax && oldest !== undefined) void this.#retire(oldest);
  }

  async #retire(old: Connection): Promise<void> {
    clearTimeout(this.#retiring.get(old));
    if (!this.#retiring.delete(old)) return;
    const hasGivenAll = await old.retire();
    if (this.isClosed) return;
    // Report the gap before the newer connections' held messages are delivered: the lost ones precede them.
    if (!hasGivenAll) this.options.onGap?.();
    // The old connection may have been ahead: let the others first receive the copies of what it delivered.
    const others = this.#merge.lines.filter((line) => line !== old && !line.isClosed);
    await Promise.allSettled(others.map((line) => line.flush()));
    this.#merge.remove(old);
  }

  /** Removes a closed connection, and reconnects if it was the current one. */
  async #whenClosed(line: Connection): Promise<void> {
    await line.connection.closed();
    if (line !== this.#line) return this.#retire(line);
    if (!this.isClosed) this.options.onDown?.();
    this.#merge.remove(line);
    this.#restore();
  }

  #restore(): void {
    if (this.isClosed) return;
    this.#recovering ??= this.#recover().finally(() => {
      this.#recovering = null;
      // The connection may have broken again just now.
      if (!this.isUp) this.#restore();
    });
  }

  async #recover(): Promise<void> {
    for (let attempt = 0; !this.isClosed; attempt++) {
      try {
        await this.#swapping.settled();
        if (!this.isUp) await this.#swap();
        if (this.isUp) return this.options.onUp?.();
      } catch (error) {
        this.options.onAttempt?.(this.#dialled, error);
        this.#trouble(error);
      }
      await this.#backOff(attempt);
      await this.#findServers();
    }
  }

  /** Reads the data plane's addresses again. If that fails, the known ones are kept. */
  async #findServers(): Promise<void> {
    try {
      const found = await this.options.findServers?.();
      if (found !== undefined && found.length > 0) this.#servers.replace(found);
    } catch (error) {
      this.#trouble(error);
    }
  }

  /** Waits before the next attempt; returns early when closed. */
  async #backOff(attempt: number): Promise<void> {
    await pause(backoffMs(attempt, retryMs), this.#closing.signal).catch(() => undefined);
  }

  #swapLater(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#try({ forced: true }), swapEveryMs * (0.9 + 0.2 * Math.random()));
    (this.#timer as { unref?: () => void }).unref?.();
  }

  async #take(notice: Notice, line: Connection): Promise<void> {
    const { kind } = notice;
    if (this.#noticed.isCopy(notice, line)) return;
    if (!withoutEffect.has(kind)) await this.#try({ forced: kind === newConsumer });
    this.options.onNotice?.(notice);
  }

  /** Refreshes, and retries until it succeeds, because a notice is sent only once. */
  async #try({ forced }: { readonly forced: boolean }): Promise<void> {
    for (let attempt = 0; !this.#closing.signal.aborted; attempt++) {
      try {
        if (forced) this.#isForced = true;
        return await this.#refresh();
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
