/**
 * One connection to the data plane: the login, the subscriptions, and publishing.
 *
 * A connection has the permissions of its login and never reconnects: `ConnectionManager` dials a new one when
 * permissions change or the connection breaks. Its inbox for acks has a random name that other users do not know.
 */
import { dialNats, isLoginRefusal } from "#nats";
import { natsHost } from "../../wire/address.ts";
import { toBase64Url } from "../../wire/encoding.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";
import { noticeSubject } from "../../wire/names.ts";
import { natsText } from "../../wire/sign.ts";
import type { Identity } from "../crypto/identity.ts";
import { inboxToken } from "./inboxes.ts";
import { LiveMessage } from "./live-message.ts";
import type { DataConnection, NatsDial, NatsMessage, NatsSubscription, Refusal } from "./nats-connection.ts";
import { pause, waitFor } from "./wait.ts";

/** The events of a connection. */
export interface ConnectionEvents {
  /** Called with a message on one of the followed subjects. */
  readonly onMessage: (message: LiveMessage, line: Connection) => void;
  /** Called with a message on this peer's subjects for notices. */
  readonly onNotice: (message: NatsMessage, line: Connection) => void;
  readonly onRefusal: (refusal: Refusal) => void;
  readonly onTrouble: (error: unknown) => void;
}

/** The reply subject of a publish, and the id by which JetStream deduplicates it. */
export interface Marks {
  readonly reply?: string | undefined;
  readonly dedupId?: string | null;
}

/** How to dial a connection, besides the URL. */
export interface Dial {
  readonly identity: Identity;
  /** TLS options beyond the system's trust store. */
  readonly tls?: { readonly ca?: string } | undefined;
  /** The host:port that a login at a URL is signed for, if it differs from the dialled one. */
  readonly nameOf?: ((url: string) => string) | undefined;
}

/**
 * The nonces that a login signs. Any other text from a server could have another meaning.
 * Source: docs/protocol/logins.md.
 */
const nonceShape = /^[A-Za-z0-9_-]{15,64}$/;
/** Timeout of one attempt, in milliseconds. A server that is starting may lose a login, so the attempt is repeated. */
const attemptTimeoutMs = 3_000;
/** A server that does not answer for twice this time is considered gone, in milliseconds. */
const pingEveryMs = 10_000;
/** Timeout to drain a connection, in milliseconds. */
const drainTimeoutMs = 2_000;

/** Converts an error of the NATS client to a UnibusError. */
function lineError(what: string, cause: unknown): UnibusError {
  return isUnibusError(cause) ? cause : new UnibusError("unavailable", `${what} (try again)`, { cause });
}

/** The error of a failed login. Only connection errors are retryable. */
function dialError(cause: unknown, name: string): UnibusError {
  if (!isLoginRefusal(cause)) return lineError("the server's NATS address cannot be reached", cause);
  const hint = "ask an admin whether this user is active and http.hosts lists that name";
  return new UnibusError("unauthenticated", `the server refused the NATS login for ${name} (${hint})`, { cause });
}

/** Signs a login for one host:port. Errors: unauthenticated if the server's nonce is malformed. */
function loginFor(identity: Identity, host: string): NatsDial["login"] {
  return (nonce) => {
    if (typeof nonce !== "string" || !nonceShape.test(nonce)) {
      throw new UnibusError(
        "unauthenticated",
        "the server asked to sign something that is not a nonce (do not trust it)",
      );
    }
    const { nkey } = identity;
    const sig = identity.signSoon(natsText(host, nonce));
    if (!(sig instanceof Promise)) return { nkey, sig: toBase64Url(sig) };
    return sig.then((bytes) => ({ nkey, sig: toBase64Url(bytes) }));
  };
}

/**
 * One connection with its subscriptions. It never reconnects: its owner dials a new one, whose login gets the current
 * permissions.
 */
export class Connection {
  static #count = 0;
  readonly #number = ++Connection.#count;
  readonly #subscriptions = new Map<string, NatsSubscription>();
  /** Called with each message in this connection's ack inbox. */
  onAck: (subject: string, data: Uint8Array) => void = () => undefined;
  /** The inbox for acks of publishes on this connection, below a random name. */
  readonly #acks: string;
  readonly #notices: string;
  /** Called when the connection ends: the NATS client does not reject pending flushes then. */
  readonly #flushing = new Set<(error: UnibusError) => void>();

  private constructor(
    readonly connection: DataConnection,
    identity: Identity,
    private readonly events: ConnectionEvents,
  ) {
    this.#acks = `_INBOX.${identity.endpoint}.a.${inboxToken()}`;
    this.#notices = noticeSubject(identity.endpoint, "");
    connection.watch({
      onRefusal: (refusal) => this.events.onRefusal(refusal),
      onTrouble: (error) => this.events.onTrouble(error),
    });
    void connection.closed().then(() => {
      const error = lineError("lost the connection to the server", undefined);
      for (const fail of this.#flushing) fail(error);
      this.#flushing.clear();
    });
  }

  /** Connects to one server. Errors: unavailable; unauthenticated if the login is refused. */
  static async dial(url: string, { identity, tls, nameOf }: Dial, events: ConnectionEvents): Promise<Connection> {
    const name = nameOf?.(url) ?? natsHost(url);
    const servername = name.slice(0, name.lastIndexOf(":")).replace(/^\[|\]$/g, "");
    try {
      const connection = await dialNats({
        url,
        login: loginFor(identity, name),
        timeoutMs: attemptTimeoutMs,
        pingEveryMs: pingEveryMs,
        tls: { ca: tls?.ca, servername: nameOf === undefined ? undefined : servername },
      });
      return new Connection(connection, identity, events);
    } catch (error) {
      throw dialError(error, name);
    }
  }

  get isClosed(): boolean {
    return this.connection.isClosed();
  }

  /** Publishes a message. Errors: unavailable if this connection is closed or draining. */
  publish(subject: string, data: Uint8Array | string, { reply, dedupId }: Marks = {}): void {
    try {
      this.connection.publish(subject, data, {
        ...(reply === undefined ? {} : { reply }),
        ...(dedupId ? { messageId: dedupId } : {}),
      });
    } catch (error) {
      throw lineError("the connection to the server accepts no messages", error);
    }
  }

  /** A new subject in the ack inbox, for one publish. It cannot be guessed. */
  ackSubject(): string {
    return `${this.#acks}.${inboxToken()}`;
  }

  /** Calls `act` when this connection ends, until the returned function is called. */
  onEnd(act: () => void): () => void {
    this.#flushing.add(act);
    return () => void this.#flushing.delete(act);
  }

  /**
   * Resolves when the server has processed everything sent before. Errors: unavailable if the connection ends first.
   */
  flush(): Promise<void> {
    const failed = (error: unknown) => lineError("lost the connection to the server", error);
    if (this.isClosed) return Promise.reject(failed(undefined));
    return new Promise<void>((resolve, reject) => {
      this.#flushing.add(reject);
      this.connection.flush().then(
        () => {
          this.#flushing.delete(reject);
          resolve();
        },
        (error: unknown) => reject(failed(error)),
      );
    });
  }

  /** Whether this connection has a subscription that matches a subject. */
  carries(subject: string): boolean {
    if (this.#subscriptions.has(subject) || subject.startsWith(this.#notices)) return true;
    return subject.startsWith("_INBOX.") && this.#subscriptions.has(`${subject.slice(0, subject.lastIndexOf("."))}.>`);
  }

  /** Subscribes to exactly these subjects, plus acks and notices. Resolves when the server has processed it. */
  async follow(subjects: readonly string[]): Promise<void> {
    const wanted = new Set([`${this.#notices}*`, `${this.#acks}.>`, ...subjects]);
    for (const [subject, subscription] of this.#subscriptions) {
      if (wanted.has(subject) && !subscription.isClosed()) continue;
      if (!subscription.isClosed()) subscription.unsubscribe();
      this.#subscriptions.delete(subject);
    }
    for (const subject of wanted) {
      if (this.#subscriptions.has(subject)) continue;
      this.#subscriptions.set(subject, this.#subscribe(subject, this.#handlerOf(subject)));
    }
    await this.flush();
  }

  /** What handles the messages of one subscription. */
  #handlerOf(subscribed: string): (message: NatsMessage) => void {
    if (subscribed.startsWith(this.#acks)) return ({ subject, data }) => this.onAck(subject, data);
    if (subscribed.startsWith(this.#notices)) return (message) => this.events.onNotice(message, this);
    const isPattern = /[*>]$/.test(subscribed);
    return ({ subject, data, reply }) => {
      // A durable's delivery has the room's subject. Use the subscription's subject, to which it was delivered.
      const came = isPattern ? subject : subscribed;
      this.events.onMessage(new LiveMessage(came, data, reply, this.#number), this);
    };
  }

  /** Closes the connection after draining it, or after a timeout. Returns whether it was drained completely. */
  async retire(): Promise<boolean> {
    const late = AbortSignal.timeout(drainTimeoutMs);
    const broken = this.connection.closed().then(() => pause(0, undefined));
    const drained = this.isClosed
      ? false
      : await waitFor(Promise.race([this.connection.drain().then(() => true), broken.then(() => false)]), late).catch(
          () => false,
        );
    await this.connection.close();
    return drained;
  }

  #subscribe(subject: string, onMessage: (message: NatsMessage) => void): NatsSubscription {
    try {
      // A refused subscription ends, too, and is reported by `onRefusal`.
      return this.connection.subscribe(subject, onMessage, () => void this.#subscriptions.delete(subject));
    } catch (error) {
      throw lineError("lost the connection to the server", error);
    }
  }
}
