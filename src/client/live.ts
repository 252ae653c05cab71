import { TokenBucket } from "../lib/token-bucket.ts";
import { hasCode, UnibusError } from "../wire/errors.ts";
import type { Identity } from "./identity.ts";
import { type Dial, Line, type LiveMessage } from "./line.ts";
import { Merge } from "./merge.ts";
import type { Refusal } from "./nats-connection.ts";
import { isNoticeSubject, type Notice, noticeIn } from "./notice.ts";
import { type Attempt, failureOf, ServerList } from "./server-list.ts";
import { pause, waitFor } from "./wait.ts";

/** What a live connection is made from. */
export interface LiveOptions extends Dial {
  readonly identity: Identity;
  /** The data plane's URLs, as GET /info gives them. */
  readonly servers: readonly string[];
  /** Reads anew where the data plane is: asked for when no server that is known can be reached. */
  readonly findServers?: () => Promise<readonly string[]>;
  /**
   * Reads over HTTP what a login grants now: the truth that a notice only hints at. Gives a text that is another one
   * whenever the grant is.
   */
  readonly readGrant: () => Promise<string>;
  /** The subjects to follow, as far as is known at this moment. */
  readonly subjects: () => readonly string[];
  readonly onMessage: (message: LiveMessage) => void;
  /** What two copies of one message have in common, or null for what may come twice while connections are swapped. */
  readonly keyOf: (message: LiveMessage) => string | null;
  /** Told of notices after the new permissions are in force. */
  readonly onNotice?: (notice: Notice) => void;
  /** Told when the connection broke, before anything comes by the next one. It comes back by itself. */
  readonly onDown?: () => void;
  /** Told when the connection is there again after a break: what was published meanwhile did not come. */
  readonly onUp?: () => void;
  /** Told when an old connection went before it had given all it had: something may be missed without a break. */
  readonly onGap?: () => void;
  /** Told of what a server did not allow: permissions may be newer than the connection, or gone. */
  readonly onRefusal?: (refusal: Refusal) => void;
  /** Reports a failed attempt to reconnect: the address that was dialled, or null where it did not come to that. */
  readonly onAttempt?: (url: string | null, error: unknown) => void;
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
/** How long a server may take to know what a new connection follows, in milliseconds. */
const followTimeoutMs = 10_000;
/** How many connections one peer has at most while it swaps. */
const linesMax = 8;
/** How many notices are remembered to recognise the copies that other connections bring. */
const noticesMax = 1_000;

/** Notices after which nothing that a peer may do on the data plane is different: a room waits to be accepted. */
const withoutEffect = new Set(["joined", "rekeyed", "rekey_pending", "role"]);
/** The notice of a new consumer, whose acks the next login grants, although the rooms are the same. */
const newConsumer = "durable";

/** How one swap is made. `onlyIfChanged`: not at all if the grant is the one of the connection in use. */
interface SwapOptions {
  readonly url?: string;
  readonly onlyIfChanged?: boolean;
}

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
  /** The address of the connection that is being made. */
  #dialled: string | null = null;
  /** What the connection in use was granted, as far as it was read before its login. */
  #grant: string | null = null;
  #refreshing: Promise<void> | null = null;
  /** Whether another refresh was asked for during this one, and whether one of them needs another connection. */
  #again = false;
  #isForced = false;
  #isOwn = false;
  #recovering: Promise<void> | null = null;
  /** The swap under way: the next begins after it, so that an older line never subscribes after a newer one. */
  #swapping: Promise<unknown> = Promise.resolve();
  /** Notices of the last moment, oldest first, and by which lines they came. */
  readonly #noticed = new Map<string, { readonly atMs: number; readonly lines: Set<Line> }>();
  readonly #servers: ServerList;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #closing = new AbortController();

  private constructor(private readonly options: LiveOptions) {
    this.#merge = new Merge(options.keyOf, options.onMessage);
    this.#servers = new ServerList(options.servers);
  }

  /** Connects, reads the peer's rooms, and follows them. Errors: those of the login and of `readGrant`. */
  static async connect(options: LiveOptions): Promise<Live> {
    const live = new Live(options);
    await live.#first();
    return live;
  }

  /** The connection in use, for publishing. It changes with every swap: do not keep it. Errors: unavailable. */
  get line(): Line {
    if (this.#line === null || !this.isUp) {
      throw new UnibusError("unavailable", "there is no connection to the bus at the moment (try again)");
    }
    return this.#line;
  }

  /** Whether there is a connection at the moment. */
  get isUp(): boolean {
    return this.#line !== null && !this.#line.isClosed && !this.isClosed;
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
    while (!this.isClosed) {
      const line = this.#line;
      if (line === null) return;
      try {
        await this.#followOn(line);
        // Who came into a room after this login is refused: the next connection may follow it.
        if (this.options.subjects().some((subject) => !line.carries(subject))) await this.refresh();
        return;
      } catch (error) {
        if (!line.isClosed) throw error;
      }
      // The next one follows what is wanted when it is made.
      await line.connection.closed();
      await this.#recovering;
      if (line === this.#line) return;
    }
  }

  async #followOn(line: Line): Promise<void> {
    const subjects = this.options.subjects();
    await line.follow(subjects);
    if (line === this.#line) this.#followed = subjects;
  }

  /** Follows what `subjects` says now, before it returns: what is published next finds its subscriptions there. */
  followNow(): void {
    this.follow().catch((error: unknown) => this.#trouble(error));
  }

  /** Makes another connection, with the permissions of now. Calls during one are one more, after it. */
  refresh(): Promise<void> {
    this.#isForced = true;
    // What this peer itself asks for does not wait behind what notices ask for.
    this.#isOwn = true;
    return this.#refresh();
  }

  /** Reads the grant, and makes another connection where it changed, or where one was asked for. */
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
      const isOwn = this.#isOwn;
      this.#isOwn = false;
      if (!isOwn) await this.#reads.take();
      if (this.#closing.signal.aborted) return;
      // While there is no connection another is on its way, and reads the truth itself.
      const isForced = this.#isForced;
      this.#isForced = false;
      if (this.#recovering === null) await this.#swap({ onlyIfChanged: !isForced });
    } while (this.#again);
  }

  /** Connects to one of the servers, each tried once. Errors: of all that were tried. */
  async #first(): Promise<void> {
    const attempts: Attempt[] = [];
    for (let count = 0; count < this.#servers.size; count++) {
      const url = this.#servers.next();
      try {
        return await this.#swap({ url });
      } catch (error) {
        // Another address is for a server that cannot be reached, not for one that refuses or cannot be trusted.
        if (!hasCode(error, "unavailable")) throw error;
        attempts.push({ url, error });
      }
    }
    throw failureOf(attempts);
  }

  /** Makes the next connection and lets the one before go. One that fails leaves the old one in force. */
  #swap(options: SwapOptions = {}): Promise<void> {
    const swap = this.#swapping.then(() => this.#swapNow(options));
    this.#swapping = swap.catch(() => undefined);
    return swap;
  }

  async #swapNow({ url: given, onlyIfChanged = false }: SwapOptions): Promise<void> {
    this.#dialled = null;
    // The login comes after: it is answered with these permissions, or newer ones.
    const grant = await this.options.readGrant();
    if (onlyIfChanged && this.isUp && grant === this.#grant) return;
    const url = given ?? this.#servers.next();
    this.#dialled = url;
    const next = await Line.dial(url, this.options, {
      onMessage: (message, line) => this.#receive(message, line),
      onRefusal: (refusal) => this.options.onRefusal?.(refusal),
      onTrouble: (error) => this.#trouble(error),
    });
    this.#merge.add(next);
    try {
      await waitFor(next.follow(this.options.subjects()), AbortSignal.timeout(followTimeoutMs));
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
    // One that broke is gone already, with whatever it had.
    if (old !== null && this.#merge.lines.includes(old)) this.#retireLater(old);
    // What was asked for while this one was made went to the one before.
    await this.#followOn(next);
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
    const hasGivenAll = await old.retire();
    if (this.isClosed) return;
    // Before what its successors hold comes: what is missing comes before that.
    if (!hasGivenAll) this.options.onGap?.();
    // The old one may have been ahead: its successors first bring what it has told already.
    const others = this.#merge.lines.filter((line) => line !== old && !line.isClosed);
    await Promise.allSettled(others.map((line) => line.flush()));
    this.#merge.remove(old);
  }

  /** What broke says nothing more; where it was the one in use, another is made. */
  async #whenClosed(line: Line): Promise<void> {
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
      // It may have broken again at this very moment.
      if (!this.isUp) this.#restore();
    });
  }

  async #recover(): Promise<void> {
    for (let attempt = 0; !this.isClosed; attempt++) {
      try {
        await this.#swapping;
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

  /** Learns where the data plane is now. Where nobody says it, it is looked for where it was. */
  async #findServers(): Promise<void> {
    try {
      const found = await this.options.findServers?.();
      if (found !== undefined && found.length > 0) this.#servers.replace(found);
    } catch (error) {
      this.#trouble(error);
    }
  }

  /** Waits before the next attempt, at most until the end. */
  async #backOff(attempt: number): Promise<void> {
    const ms = Math.random() * Math.min(backoffMs.most, backoffMs.first * 2 ** Math.min(attempt, 10));
    await pause(ms, this.#closing.signal).catch(() => undefined);
  }

  #swapLater(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#try({ forced: true }), swapEveryMs * (0.9 + 0.2 * Math.random()));
    (this.#timer as { unref?: () => void }).unref?.();
  }

  #receive(message: LiveMessage, line: Line): void {
    const notice = noticeIn(message);
    if (notice !== null) void this.#take(notice, line);
    else if (!isNoticeSubject(message.subject)) this.#merge.take(line, message);
  }

  async #take(notice: Notice, line: Line): Promise<void> {
    const { kind, roomId } = notice;
    if (this.#isCopy(`${kind} ${roomId}`, line)) return;
    if (!withoutEffect.has(kind)) await this.#try({ forced: kind === newConsumer });
    this.options.onNotice?.(notice);
  }

  /**
   * Whether another line has brought this notice. Each line may lack what the others have: so all are listened to, and
   * what came twice by one line was said twice.
   */
  #isCopy(notice: string, line: Line): boolean {
    const nowMs = performance.now();
    for (const [name, { atMs }] of this.#noticed) {
      if (nowMs - atMs < overlapMs && this.#noticed.size < noticesMax) break;
      this.#noticed.delete(name);
    }
    const lines = this.#noticed.get(notice)?.lines;
    if (lines !== undefined && !lines.has(line)) {
      lines.add(line);
      return true;
    }
    this.#noticed.delete(notice);
    this.#noticed.set(notice, { atMs: nowMs, lines: new Set([line]) });
    return false;
  }

  /** Takes up the truth, again and again until it could be read: a notice comes once. */
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
