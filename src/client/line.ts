import { type Authenticator, connect, type NatsConnection, type NatsError, type Subscription } from "#nats";
import { toBase64Url } from "../wire/encoding.ts";
import { UnibusError } from "../wire/errors.ts";
import { noticeSubject } from "../wire/names.ts";
import { natsText } from "../wire/sign.ts";
import type { Identity } from "./identity.ts";
import { waitFor } from "./wait.ts";

/** A message as it came. */
export interface LiveMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly reply: string | undefined;
}

/** What a server did not allow: `operation` is publish or subscription. */
export interface Refusal {
  readonly operation: string;
  readonly subject: string;
}

/** What a line tells. */
export interface LineEvents {
  readonly onMessage: (message: LiveMessage, line: Line) => void;
  readonly onRefusal: (refusal: Refusal) => void;
  readonly onTrouble: (error: unknown) => void;
}

/** What a connection is dialled with, beside its URL. */
export interface Dial {
  readonly identity: Identity;
  /** Options of TLS beyond the system's own trust. */
  readonly tls?: { readonly ca?: string } | undefined;
}

/** Nonces that a login signs: what else a server might send could be a text of ours. Source: spec 9. */
const nonceShape = /^[A-Za-z0-9_-]{15,64}$/;
/** How long one attempt may take, in milliseconds: a login that a starting server lost is made again. */
const attemptTimeoutMs = 3_000;
/** A server that says nothing for twice this long is gone, in milliseconds. */
const pingEveryMs = 10_000;
/** How long a connection may take to give all it has, in milliseconds. */
const drainTimeoutMs = 2_000;

/** Signs a login for one host. Errors: unauthenticated for a nonce that is none. */
function loginFor(identity: Identity, host: string): Authenticator {
  return (nonce?: string) => {
    if (nonce === undefined || !nonceShape.test(nonce)) {
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
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #inbox: string;
  readonly #notices: string;

  private constructor(
    readonly connection: NatsConnection,
    identity: Identity,
    private readonly events: LineEvents,
  ) {
    this.#inbox = `_INBOX.${identity.endpoint}.`;
    this.#notices = noticeSubject(identity.endpoint, "");
    void this.#watch();
  }

  /** Connects to one server. Errors: those of the login. */
  static async dial(url: string, { identity, tls }: Dial, events: LineEvents): Promise<Line> {
    const { hostname } = new URL(url);
    const connection = await connect({
      servers: url.replace(/^nats:\/\//, ""),
      authenticator: loginFor(identity, hostname),
      timeout: attemptTimeoutMs,
      pingInterval: pingEveryMs,
      reconnect: false,
      ignoreClusterUpdates: true,
      ...(url.startsWith("tls:") ? { tls: tls ?? {} } : {}),
    });
    return new Line(connection, identity, events);
  }

  /** Whether what is published to a subject comes over this connection. */
  carries(subject: string): boolean {
    return subject.startsWith(this.#inbox) || subject.startsWith(this.#notices) || this.#subscriptions.has(subject);
  }

  /** Brings the subscriptions in line, and returns when the server knows. Inbox and notices are always among them. */
  async follow(subjects: readonly string[]): Promise<void> {
    const wanted = new Set([`${this.#notices}*`, `${this.#inbox}>`, ...subjects]);
    for (const [subject, subscription] of this.#subscriptions) {
      if (wanted.has(subject) && !subscription.isClosed()) continue;
      if (!subscription.isClosed()) subscription.unsubscribe();
      this.#subscriptions.delete(subject);
    }
    for (const subject of wanted) {
      if (this.#subscriptions.has(subject)) continue;
      const callback = (error: NatsError | null, message: { subject: string; data: Uint8Array; reply?: string }) => {
        // A refusal is told as such: it comes here, too.
        if (error !== null) return;
        // What a durable delivers carries the room's subject: the subscription's own says where it came.
        const came = /[*>]$/.test(subject) ? message.subject : subject;
        this.events.onMessage({ subject: came, data: message.data, reply: message.reply }, this);
      };
      this.#subscriptions.set(subject, this.connection.subscribe(subject, { callback }));
    }
    await this.connection.flush();
  }

  /** Ends it after it has given all it has, or after a while. */
  async retire(): Promise<void> {
    const late = AbortSignal.timeout(drainTimeoutMs);
    if (!this.connection.isClosed()) await waitFor(this.connection.drain(), late).catch(() => undefined);
    await this.connection.close();
  }

  async #watch(): Promise<void> {
    for await (const { type, data, permissionContext } of this.connection.status()) {
      if (type !== "error") continue;
      if (permissionContext === undefined) this.events.onTrouble(data);
      else this.events.onRefusal(permissionContext);
    }
  }
}
