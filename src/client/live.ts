import { type Authenticator, connect, Events, type NatsConnection, type NatsError, type Subscription } from "nats";
import { toBase64Url } from "../wire/encoding.ts";
import { UnibusError } from "../wire/errors.ts";
import { deliverRoot, noticeSubject } from "../wire/names.ts";
import { natsText } from "../wire/sign.ts";
import type { Identity } from "./identity.ts";
import { Recent } from "./recent.ts";
import { TokenBucket } from "./token-bucket.ts";

/** A message as it came. */
export interface LiveMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly reply: string | undefined;
}

/** What a live connection is made from. */
export interface LiveOptions {
  readonly identity: Identity;
  /** The data plane's URLs, as GET /info gives them. */
  readonly servers: readonly string[];
  /** The subjects that the peer may use now, read over HTTP: the truth that a notice only hints at. */
  readonly readSubjects: () => Promise<readonly string[]>;
  readonly onMessage: (message: LiveMessage) => void;
  /** What two copies of one message have in common, or null for what has no copies. */
  readonly keyOf: (data: Uint8Array) => string | null;
  /** Told of notices after the new permissions are in force. */
  readonly onNotice?: (kind: string) => void;
  /** Told of what goes wrong and mends itself. */
  readonly onTrouble?: (error: unknown) => void;
}

/** Nonces that a login signs: what else a server might send could be a text of ours. Source: spec 9. */
const nonceShape = /^[A-Za-z0-9_-]{15,64}$/;
/** Pauses between attempts to come back, in milliseconds, with full jitter. Source: spec 9. */
const backoffMs = { first: 100, most: 10_000 } as const;
/** How long one attempt may take, in milliseconds: a login that a starting server lost is made again. */
const attemptTimeoutMs = 3_000;
/** Connections are swapped well before their permissions expire, in milliseconds. */
const swapEveryMs = 45 * 60_000;
/** Reads that notices may cause: this many at once, then one a second. Source: spec 9. */
const noticeReads = { burst: 20, perSecond: 1 } as const;
/** How many messages are remembered to tell doubles of a swap. */
const recentMax = 20_000;

/** The host of a login's text: as dialled, without its port. */
const dialledHost = (url: string): string => {
  const { hostname } = new URL(url.includes("://") ? url : `nats://${url}`);
  return hostname;
};

/** Signs a login for one host. Errors: unauthenticated for a nonce that is none. */
function loginFor(identity: Identity, host: string): Authenticator {
  return (nonce?: string) => {
    if (nonce === undefined || !nonceShape.test(nonce)) {
      throw new UnibusError("unauthenticated", "the server asked to sign what is no nonce (do not trust it)");
    }
    return { nkey: identity.nkey, sig: toBase64Url(identity.sign(natsText(host, nonce))) };
  };
}

/** One connection with its subscriptions. */
class Line {
  readonly #subscriptions = new Map<string, Subscription>();

  constructor(
    readonly connection: NatsConnection,
    private readonly onMessage: (message: LiveMessage) => void,
    private readonly onTrouble: (error: unknown) => void,
  ) {}

  /** Brings the subscriptions in line, and returns when the server knows. */
  async follow(subjects: readonly string[]): Promise<void> {
    const wanted = new Set(subjects);
    for (const [subject, subscription] of this.#subscriptions) {
      if (wanted.has(subject) && !subscription.isClosed()) continue;
      if (!subscription.isClosed()) subscription.unsubscribe();
      this.#subscriptions.delete(subject);
    }
    for (const subject of wanted) {
      if (this.#subscriptions.has(subject)) continue;
      const callback = (error: NatsError | null, message: { subject: string; data: Uint8Array; reply?: string }) => {
        if (error !== null) this.onTrouble(error);
        else this.onMessage({ subject: message.subject, data: message.data, reply: message.reply });
      };
      this.#subscriptions.set(subject, this.connection.subscribe(subject, { callback }));
    }
    await this.connection.flush();
  }
}

/**
 * A peer's connection to the data plane that takes up new permissions by itself, without losing or doubling a message:
 * the next connection is made, subscribed and flushed before the old one is drained, and hands over in order.
 */
export class Live {
  readonly #recent = new Recent(recentMax);
  readonly #reads = new TokenBucket(noticeReads.burst, noticeReads.perSecond);
  #line: Line | null = null;
  /** While a swap is under way: the connection that still delivers, and what the next one has brought meanwhile. */
  #handover: { readonly from: Line | null; readonly held: LiveMessage[] } | null = null;
  #subjects: readonly string[] = [];
  #refreshing: Promise<void> | null = null;
  #again = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  private constructor(private readonly options: LiveOptions) {}

  /** Connects, reads the peer's rooms, and follows them. Errors: those of the login and of `readSubjects`. */
  static async connect(options: LiveOptions): Promise<Live> {
    const live = new Live(options);
    await live.#swap();
    return live;
  }

  /** The connection in use, for publishing and asking. It changes with every swap: do not keep it. */
  get connection(): NatsConnection {
    if (this.#line === null || this.#closed) throw new UnibusError("unavailable", "this connection is closed");
    return this.#line.connection;
  }

  /** The subjects that are followed now. */
  get subjects(): readonly string[] {
    return this.#subjects;
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
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#line?.connection.drain().catch(() => undefined);
  }

  async #refreshUntilQuiet(): Promise<void> {
    do {
      this.#again = false;
      await this.#reads.take();
      if (this.#closed) return;
      await this.#swap();
    } while (this.#again);
  }

  /** Makes the next connection, then hands over. One that fails leaves the old one in force. */
  async #swap(): Promise<void> {
    const rooms = await this.options.readSubjects();
    const durables = this.#subjects.filter((subject) => subject.startsWith(deliverRoot));
    const subjects = [...rooms, ...durables];
    const { endpoint } = this.options.identity;
    const old = this.#line;
    const handover = { from: old, held: [] as LiveMessage[] };
    this.#handover = handover;
    const next = await this.#dial();
    try {
      await next.follow([noticeSubject(endpoint, "*"), `_INBOX.${endpoint}.>`, ...subjects]);
      if (this.#closed) throw new UnibusError("unavailable", "this connection is closed");
    } catch (error) {
      this.#handover = null;
      await next.connection.close();
      throw error;
    }
    this.#line = next;
    this.#subjects = subjects;
    await old?.connection.drain().catch((error: unknown) => this.#trouble(error));
    this.#handover = null;
    for (const message of handover.held) this.#deliver(message);
    this.#swapLater();
  }

  #swapLater(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#try(), swapEveryMs * (0.9 + 0.2 * Math.random()));
    (this.#timer as { unref?: () => void }).unref?.();
  }

  async #dial(): Promise<Line> {
    const { identity, servers } = this.options;
    const server = servers[Math.floor(Math.random() * servers.length)] ?? "";
    const host = dialledHost(server);
    let attempt = 0;
    const connection = await connect({
      servers: servers.filter((url) => dialledHost(url) === host).map((url) => url.replace(/^nats:\/\//, "")),
      authenticator: loginFor(identity, host),
      inboxPrefix: `_INBOX.${identity.endpoint}.a`,
      timeout: attemptTimeoutMs,
      maxReconnectAttempts: -1,
      reconnectDelayHandler: () =>
        Math.random() * Math.min(backoffMs.most, backoffMs.first * 2 ** Math.min(attempt++, 10)),
      ignoreClusterUpdates: true,
      ...(server.startsWith("tls:") ? { tls: {} } : {}),
    });
    const line = new Line(
      connection,
      (message) => this.#receive(message, line),
      (error) => this.#trouble(error),
    );
    void this.#watch(line, () => {
      attempt = 0;
    });
    return line;
  }

  /** After a break the login was a new one: what the peer may do may have changed without a notice. */
  async #watch(line: Line, onUp: () => void): Promise<void> {
    for await (const { type, data } of line.connection.status()) {
      if (type === Events.Error) this.#trouble(data);
      if (type !== Events.Reconnect) continue;
      onUp();
      if (line === this.#line) void this.#try();
    }
  }

  #receive(message: LiveMessage, line: Line): void {
    const notice = /^unibus\.user\.[^.]+\.(\w+)$/.exec(message.subject)?.[1];
    if (notice !== undefined) return void this.#noticed(notice, line);
    // Until the old connection has given all it has, the next one waits: so messages stay in order.
    const { from, held } = this.#handover ?? { from: null, held: [] };
    if (from !== null && line !== from) held.push(message);
    else this.#deliver(message);
  }

  #deliver(message: LiveMessage): void {
    const key = this.options.keyOf(message.data);
    if (key !== null && !this.#recent.add(`${message.subject} ${key}`)) return;
    this.options.onMessage(message);
  }

  async #noticed(kind: string, line: Line): Promise<void> {
    if (line !== this.#line) return;
    if (kind !== "rekeyed" && kind !== "rekey_pending" && kind !== "role") await this.#try();
    this.options.onNotice?.(kind);
  }

  async #try(): Promise<void> {
    try {
      await this.refresh();
    } catch (error) {
      this.#trouble(error);
    }
  }

  #trouble(error: unknown): void {
    if (!this.#closed) this.options.onTrouble?.(error);
  }
}
