/**
 * WebSocket endpoints of plugins. A plugin declares a `SocketRoute`. The kernel owns the listener: it checks the
 * Origin, applies the client's rate limit and determines the client's real address before it calls the plugin.
 */
import type { Origin } from "./auth.ts";

/** An open WebSocket, as a plugin uses it. */
export interface Socket {
  /** Queues bytes for the client. Returns the number of bytes that are queued now. */
  send(data: Uint8Array): number;
  /** Stops reading from the client, so TCP backpressure slows it down. */
  pause(): void;
  /** Resumes reading from the client. */
  resume(): void;
  /** Closes the connection. Idempotent. */
  close(code: number, reason: string): void;
}

/** A plugin's handler for an open WebSocket. */
export interface SocketHandler {
  /** Called for each message. The handler owns the bytes. */
  message(data: Uint8Array): void;
  /** Called when all queued bytes have been written. */
  drained(): void;
  /** Called once when the connection has ended, from either side. */
  closed(): void;
}

/** A separate listen address for a socket route, besides its path on the HTTP port. */
export interface SocketListener {
  readonly hostname: string;
  /** 0 means any free port. */
  readonly port: number;
  /** The texts of PEM files, or null for cleartext. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
  /** The setting and the command line option of this address, for error messages. */
  readonly setting: string;
  readonly option: string;
  /** Called once with the bound port. */
  bound(port: number): void;
}

/** A WebSocket endpoint. */
export interface SocketRoute {
  readonly path: `/${string}`;
  /** The exact Origins of web pages that may connect, besides the bus's own pages. */
  readonly origins: readonly string[];
  /** A further address that serves this endpoint, on every path. */
  readonly listener?: SocketListener;
  /**
   * Called before the upgrade is answered. `peer.address` is the client's address; behind a trusted proxy, the one that
   * the proxy forwarded. The kernel calls `open` of the result with the open socket, or `abandoned` if the connection
   * ends before it opens.
   * Errors: any `UnibusError`; the client gets it as the HTTP reply (429, 503).
   */
  accept(peer: Origin): {
    open(socket: Socket): SocketHandler;
    abandoned(): void;
  };
}
