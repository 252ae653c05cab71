/**
 * One connection to a NATS server, independent of the library: `nats` over TCP, or `@nats-io/nats-core` over WebSocket.
 * The two have nearly the same interface, but differ in headers, errors and status events; this file hides the
 * differences. A connection never reconnects by itself: a new one logs in again, and gets the current permissions.
 */
import { bytesOf } from "../../wire/encoding.ts";

/** What a client logs in with. */
export interface Login {
  readonly nkey: string;
  readonly sig: string;
}

/** How to open a connection. */
export interface NatsDial {
  /** `nats://`, `tls://`, `ws://` or `wss://`. */
  readonly url: string;
  /**
   * Signs the nonce of the server's INFO. An exception fails the attempt. Over TCP it must not return a promise: the
   * library there cannot wait for it.
   */
  readonly login: (nonce: string | undefined) => Login | Promise<Login>;
  readonly timeoutMs: number;
  readonly pingEveryMs: number;
  /** TLS beyond the system's trust store. `servername`: the name the certificate must have, if it is not the URL's. */
  readonly tls?: { readonly ca?: string | undefined; readonly servername?: string | undefined } | undefined;
}

/** A message as a subscription receives it. */
export interface NatsMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly reply?: string | undefined;
}

/** An operation that the server denied: `operation` is `publish` or `subscription`. */
export interface Refusal {
  readonly operation: string;
  readonly subject: string;
}

/** One subscription. */
export interface NatsSubscription {
  unsubscribe(): void;
  isClosed(): boolean;
}

/** An open connection. Its methods throw the library's own errors. */
export interface DataConnection {
  /** `messageId`: the id by which JetStream deduplicates. */
  publish(subject: string, data: Uint8Array | string, options: { reply?: string; messageId?: string }): void;
  /** `onEnd` is called when the server ends or refuses the subscription. */
  subscribe(subject: string, onMessage: (message: NatsMessage) => void, onEnd: () => void): NatsSubscription;
  /** Resolves when the server has processed everything sent before. */
  flush(): Promise<void>;
  /** Unsubscribes, delivers what has arrived, then closes. */
  drain(): Promise<void>;
  close(): Promise<void>;
  closed(): Promise<unknown>;
  isClosed(): boolean;
  /** Reports denied operations and other server errors until the connection ends. */
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

/**
 * The header with the id by which JetStream deduplicates, as both libraries call it. Their own class for headers takes
 * as long as a publish.
 */
function headersOf(messageId: string): { encode(): Uint8Array } {
  if (!/^[A-Za-z0-9._-]+$/.test(messageId)) throw new TypeError("not an id that fits into a header");
  return { encode: () => bytesOf(`NATS/1.0\r\nNats-Msg-Id: ${messageId}\r\n\r\n`) };
}

/** What differs between the libraries. */
interface Dialect {
  /** Interprets a status event: a denied operation, another error, or null if it does not matter. */
  readonly errorIn: (status: unknown) => { readonly refusal: Refusal } | { readonly error: unknown } | null;
}

/** Wraps a library's connection in the common interface. */
export function dataConnection(connection: Library, { errorIn }: Dialect): DataConnection {
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
