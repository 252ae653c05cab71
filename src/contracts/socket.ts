/**
 * WebSocket endpoints of plugins. A plugin declares a `SocketRoute`; the kernel owns the listener, checks the Origin,
 * spends the client's rate limit and finds the client's real address before the plugin hears of the connection.
 */
import type { Origin } from "./auth.ts";

/** An open WebSocket, as the plugin uses it. */
export interface Socket {
  /** Queues bytes for the client. Gives how many bytes wait to be written now. */
  send(data: Uint8Array): number;
  /** Stops reading from the client, so that TCP holds it back. */
  pause(): void;
  /** Reads from the client again. */
  resume(): void;
  /** Closes the connection. Idempotent. */
  close(code: number, reason: string): void;
}

/** What a plugin does with an open WebSocket. */
export interface SocketHandler {
  /** One message. The bytes belong to the handler. */
  message(data: Uint8Array): void;
  /** All bytes that waited were written. */
  drained(): void;
  /** The connection ended, from either side. Called once. */
  closed(): void;
}

/** An address of its own on which a socket route is served, besides its path on the HTTP port. */
export interface SocketListener {
  readonly hostname: string;
  /** 0 = any free port. */
  readonly port: number;
  /** PEM files, or null for cleartext. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
  /** The setting and the option that name this address, for messages. */
  readonly setting: string;
  readonly option: string;
  /** Called once with the port that was bound. */
  bound(port: number): void;
}

/** A WebSocket endpoint. */
export interface SocketRoute {
  readonly path: `/${string}`;
  /** Exact origins of web pages that may connect, besides the pages of this bus itself. */
  readonly origins: readonly string[];
  /** Where it is served besides, under any path. */
  readonly listener?: SocketListener;
  /**
   * Called before the upgrade is answered. `peer.address` is the client's: behind a trusted proxy, the one that
   * the proxy
   * forwarded. What it returns is called with the open socket.
   * `abandoned` is called instead when the connection ends before it opened.
   * Errors: any `UnibusError`, which the client gets as the HTTP reply (429, 503).
   */
  accept(peer: Origin): {
    open(socket: Socket): SocketHandler;
    abandoned(): void;
  };
}
