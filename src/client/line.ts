import { dialNats, isLoginRefusal } from "#nats";
import { natsHost } from "../wire/address.ts";
import { toBase64Url } from "../wire/encoding.ts";
import { isUnibusError, UnibusError } from "../wire/errors.ts";
import { noticeSubject } from "../wire/names.ts";
import { natsText } from "../wire/sign.ts";
import type { Identity } from "./identity.ts";
import type { DataConnection, NatsDial, NatsMessage, NatsSubscription, Refusal } from "./nats-connection.ts";
import { inboxToken } from "./replies.ts";
import { pause, waitFor } from "./wait.ts";

/** A message as it came. */
export interface LiveMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly reply: string | undefined;
  /** By which connection it came: a later one has a higher number. */
  readonly connection: number;
}

/** What a line tells. */
export interface LineEvents {
  readonly onMessage: (message: LiveMessage, line: Line) => void;
  readonly onRefusal: (refusal: Refusal) => void;
  readonly onTrouble: (error: unknown) => void;
}

/** Where answers to a publish go, and by which id JetStream knows a second copy of it. */
export interface Marks {
  readonly reply?: string | undefined;
  readonly dedupId?: string | null;
}

/** What a connection is dialled with, beside its URL. */
export interface Dial {
  readonly identity: Identity;
  /** Options of TLS beyond the system's own trust. */
  readonly tls?: { readonly ca?: string } | undefined;
  /** The host:port that a login at a URL is signed for, where it is not the one that is dialled. */
  readonly nameOf?: ((url: string) => string) | undefined;
}

/** Nonces that a login signs: what else a server might send could be a text of ours. Source: spec 9. */
const nonceShape = /^[A-Za-z0-9_-]{15,64}$/;
/** How long one attempt may take, in milliseconds: a login that a starting server lost is made again. */
const attemptTimeoutMs = 3_000;
/** A server that says nothing for twice this long is gone, in milliseconds. */
const pingEveryMs = 10_000;
/** How long a connection may take to give all it has, in milliseconds. */
const drainTimeoutMs = 2_000;

/** What the NATS client says, as an error of ours. */
function lineError(what: string, cause: unknown): UnibusError {
  return isUnibusError(cause) ? cause : new UnibusError("unavailable", `${what} (try again)`, { cause });
}

/** Why a login failed. Errors of the connection alone say that it may be tried again. */
function dialError(cause: unknown, name: string): UnibusError {
  if (!isLoginRefusal(cause)) return lineError("the data plane of the bus cannot be reached", cause);
  const hint = "ask an admin whether this user is active, and whether the bus answers to that name: see http.hosts";
  return new UnibusError("unauthenticated", `the data plane refused the login for ${name} (${hint})`, { cause });
}

/** Signs a login for one host:port. Errors: unauthenticated for a nonce that is none. */
function loginFor(identity: Identity, host: string): NatsDial["authenticator"] {
  return (nonce?: string) => {
    if (typeof nonce !== "string" || !nonceShape.test(nonce)) {
      throw new UnibusError("unauthenticated", "the server asked to sign what is no nonce (do not trust it)");
    }
    return { nkey: identity.nkey, sig: toBase64Url(identity.sign(natsText(host, nonce))) };
  };
}

/**
 * One connection with its subscriptions. It never comes back by itself: whoever holds it makes another, whose login is
 * answered with the permissions of that moment.
 */
export class Line {
  static #count = 0;
  readonly #number = ++Line.#count;
  readonly #subscriptions = new Map<string, NatsSubscription>();
  /** Below it come the acks of what is published here: nobody else knows it. */
  readonly acks: string;
  readonly #notices: string;
  /** Called when the connection ends, which the NATS client reports to nobody who waits for the server. */
  readonly #flushing = new Set<(error: UnibusError) => void>();

  private constructor(
    readonly connection: DataConnection,
    identity: Identity,
    private readonly events: LineEvents,
  ) {
    this.acks = `_INBOX.${identity.endpoint}.a.${inboxToken()}`;
    this.#notices = noticeSubject(identity.endpoint, "");
    connection.watch({
      onRefusal: (refusal) => this.events.onRefusal(refusal),
      onTrouble: (error) => this.events.onTrouble(error),
    });
    void connection.closed().then(() => {
      const error = lineError("the connection to the bus broke", undefined);
      for (const fail of this.#flushing) fail(error);
      this.#flushing.clear();
    });
  }

  /** Connects to one server. Errors: unavailable; unauthenticated when the login is refused. */
  static async dial(url: string, { identity, tls, nameOf }: Dial, events: LineEvents): Promise<Line> {
    const name = nameOf?.(url) ?? natsHost(url);
    const servername = name.slice(0, name.lastIndexOf(":")).replace(/^\[|\]$/g, "");
    try {
      const connection = await dialNats({
        url,
        authenticator: loginFor(identity, name),
        timeoutMs: attemptTimeoutMs,
        pingEveryMs: pingEveryMs,
        tls: { ca: tls?.ca, servername: nameOf === undefined ? undefined : servername },
      });
      return new Line(connection, identity, events);
    } catch (error) {
      throw dialError(error, name);
    }
  }

  get isClosed(): boolean {
    return this.connection.isClosed();
  }

  /** Publishes. Errors: unavailable when this connection takes nothing any more. */
  publish(subject: string, data: Uint8Array | string, { reply, dedupId }: Marks = {}): void {
    try {
      this.connection.publish(subject, data, {
        ...(reply === undefined ? {} : { reply }),
        ...(dedupId ? { messageId: dedupId } : {}),
      });
    } catch (error) {
      throw lineError("the connection to the bus takes no message", error);
    }
  }

  /** Calls `act` when this connection ends, until what is returned is called. */
  onEnd(act: () => void): () => void {
    this.#flushing.add(act);
    return () => void this.#flushing.delete(act);
  }

  /** Resolves when the server has taken in what was sent before. Errors: unavailable when the connection ends first. */
  flush(): Promise<void> {
    const failed = (error: unknown) => lineError("the connection to the bus broke", error);
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

  /** Whether what is published to a subject comes over this connection. */
  carries(subject: string): boolean {
    if (this.#subscriptions.has(subject) || subject.startsWith(this.#notices)) return true;
    return subject.startsWith("_INBOX.") && this.#subscriptions.has(`${subject.slice(0, subject.lastIndexOf("."))}.>`);
  }

  /** Brings the subscriptions in line, and returns when the server knows. Acks and notices are always among them. */
  async follow(subjects: readonly string[]): Promise<void> {
    const wanted = new Set([`${this.#notices}*`, `${this.acks}.>`, ...subjects]);
    for (const [subject, subscription] of this.#subscriptions) {
      if (wanted.has(subject) && !subscription.isClosed()) continue;
      if (!subscription.isClosed()) subscription.unsubscribe();
      this.#subscriptions.delete(subject);
    }
    for (const subject of wanted) {
      if (this.#subscriptions.has(subject)) continue;
      const onMessage = (message: NatsMessage) => {
        // What a durable delivers carries the room's subject: the subscription's own says where it came.
        const came = /[*>]$/.test(subject) ? message.subject : subject;
        const { data, reply } = message;
        this.events.onMessage({ subject: came, data, reply, connection: this.#number }, this);
      };
      this.#subscriptions.set(subject, this.#subscribe(subject, onMessage));
    }
    await this.flush();
  }

  /** Ends it after it has given all it has, or after a while. Gives whether it has given all. */
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
      // A refusal is reported as such: it ends the subscription, too.
      return this.connection.subscribe(subject, onMessage, () => void this.#subscriptions.delete(subject));
    } catch (error) {
      throw lineError("the connection to the bus broke", error);
    }
  }
}
