/**
 * One connection to a NATS server, whichever library carries it: `nats` over TCP, `@nats-io/nats-core` over
 * WebSocket. The
 * two have nearly the same face, but headers, errors and status events of their own; here they look alike. It never
 * reconnects by itself: a new connection logs in anew, and gets the permissions of that moment.
 */

/** What a connection is opened with. */
export interface NatsDial {
  /** `nats://`, `tls://`, `ws://` or `wss://`. */
  readonly url: string;
  /** Answers the nonce of the server's INFO. What it throws fails the attempt. */
  readonly authenticator: (nonce?: string) => { readonly nkey: string; readonly sig: string };
  readonly timeoutMs: number;
  readonly pingEveryMs: number;
  /**
   * TLS beyond the system's own trust. `servername`: the name that the certificate must have, if it is not the
   * URL's.
   */
  readonly tls?: { readonly ca?: string | undefined; readonly servername?: string | undefined } | undefined;
}

/** A message as a subscription gets it. */
export interface NatsMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly reply?: string | undefined;
}

/** What a server did not allow: `operation` is `publish` or `subscription`. */
export interface Refusal {
  readonly operation: string;
  readonly subject: string;
}

/** One subscription. */
export interface NatsSubscription {
  unsubscribe(): void;
  isClosed(): boolean;
}

/** An open connection. What its methods throw is the library's own. */
export interface DataConnection {
  /** `messageId`: by which JetStream recognises a second copy. */
  publish(subject: string, data: Uint8Array | string, options: { reply?: string; messageId?: string }): void;
  /** `onEnd` is called when the server ends or refuses the subscription. */
  subscribe(subject: string, onMessage: (message: NatsMessage) => void, onEnd: () => void): NatsSubscription;
  /** Resolves when the server has read what was sent before. */
  flush(): Promise<void>;
  /** Unsubscribes, delivers what has arrived, then closes. */
  drain(): Promise<void>;
  close(): Promise<void>;
  closed(): Promise<unknown>;
  isClosed(): boolean;
  /** Reports refusals and other errors of the server until the connection ends. */
  watch(events: { readonly onRefusal: (refusal: Refusal) => void; readonly onTrouble: (error: unknown) => void }): void;
}

/** What the two libraries have in common. */
interface Library {
  publish(subject: string, data: Uint8Array | string, options: Record<string, unknown>): void;
  subscribe(
    subject: string,
    options: { callback: (error: Error | null, message: NatsMessage) => void },
  ): NatsSubscription;
  flush(): Promise<void>;
  drain(): Promise<void>;
  close(): Promise<void>;
  closed(): Promise<unknown>;
  isClosed(): boolean;
  status(): AsyncIterable<unknown>;
}

/** What differs between the libraries. */
interface Dialect {
  /** Headers that hold the id by which JetStream recognises a copy. */
  readonly headersOf: (messageId: string) => unknown;
  /** What a status event reports: a refusal, another error, or nothing that matters. */
  readonly errorIn: (status: unknown) => { readonly refusal: Refusal } | { readonly error: unknown } | null;
}

/** Gives a library's connection the common face. */
export function dataConnection(connection: Library, { headersOf, errorIn }: Dialect): DataConnection {
  return {
    publish(subject, data, { reply, messageId }) {
      connection.publish(subject, data, {
        ...(reply === undefined ? {} : { reply }),
        ...(messageId === undefined ? {} : { headers: headersOf(messageId) }),
      });
    },
    subscribe: (subject, onMessage, onEnd) =>
      connection.subscribe(subject, {
        callback: (error, message) => (error === null ? onMessage(message) : onEnd()),
      }),
    flush: () => connection.flush(),
    drain: () => connection.drain(),
    close: () => connection.close(),
    closed: () => connection.closed(),
    isClosed: () => connection.isClosed(),
    watch({ onRefusal, onTrouble }) {
      void (async () => {
        for await (const status of connection.status()) {
          const found = errorIn(status);
          if (found === null) continue;
          if ("refusal" in found) onRefusal(found.refusal);
          else onTrouble(found.error);
        }
      })();
    },
  };
}
