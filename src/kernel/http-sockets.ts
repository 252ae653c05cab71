/**
 * WebSockets on the HTTP side: checks an upgrade request, then hands the open socket to the plugin that declared the
 * route. The plugin sees a `Socket` and none of Bun's types. http.ts uses this for the HTTP port, and `listenSockets`
 * for a route with an address of its own.
 */
import type { Server, ServerWebSocket, WebSocketHandler } from "bun";
import { isForwarded } from "../contracts/auth.ts";
import type { Limiter } from "../contracts/limiter.ts";
import type { Socket, SocketHandler, SocketListener, SocketRoute } from "../contracts/socket.ts";
import { readTlsFiles, tls12Ciphers } from "../contracts/tls.ts";
import { clientKey } from "../wire/address.ts";
import { asUnibusError, statusOf, UnibusError } from "../wire/errors.ts";
import { clientAddress } from "./http-limits.ts";
import { binding, handOver, sharePort } from "./http-port.ts";

/** Largest WebSocket message, in bytes: a NATS message of 1 MiB and 64 KiB, and what a client sends along with it. */
const messageBytesMax = 4 * 1_048_576;
/** How long a WebSocket may be silent, in seconds. Bun sends a ping before that. */
const idleTimeoutS = 120;
/** WebSocket close code "going away". Source: RFC 6455, 7.4.1. */
const goingAway = 1001;

/** The inputs of the checks of an upgrade request. */
export interface UpgradeRules {
  /** Origins of this bus's own pages. */
  readonly ownOrigins: () => readonly string[];
  /** Origins that `http.cors_origins` allows. */
  readonly corsOrigins: readonly string[];
  readonly isTrustedProxy: (address: string) => boolean;
}

/** The state that Bun attaches to each WebSocket. */
export interface SocketData {
  readonly open: (socket: Socket) => SocketHandler;
  handler: SocketHandler | null;
}

/** Whether a page of this origin may open a WebSocket. A client that is not a browser sends no Origin. */
function isAllowedOrigin(
  origin: string | null,
  route: SocketRoute,
  { ownOrigins, corsOrigins }: UpgradeRules,
): boolean {
  return origin === null || [...route.origins, ...corsOrigins, ...ownOrigins()].includes(origin);
}

/** The open WebSockets of one bus. */
export class OpenSockets {
  readonly #open = new Set<ServerWebSocket<SocketData>>();

  /** The WebSocket callbacks for Bun's listener. */
  readonly handler: WebSocketHandler<SocketData> = {
    maxPayloadLength: messageBytesMax,
    closeOnBackpressureLimit: false,
    perMessageDeflate: false,
    idleTimeout: idleTimeoutS,
    sendPings: true,
    open: (ws) => {
      this.#open.add(ws);
      ws.data.handler = ws.data.open(socketOf(ws));
    },
    message: (ws, data) =>
      ws.data.handler?.message(typeof data === "string" ? new TextEncoder().encode(data) : new Uint8Array(data)),
    drain: (ws) => ws.data.handler?.drained(),
    close: (ws) => {
      this.#open.delete(ws);
      ws.data.handler?.closed();
    },
  };

  closeAll(): void {
    for (const ws of this.#open) ws.close(goingAway, "the server is stopping");
  }
}

function socketOf(ws: ServerWebSocket<SocketData>): Socket {
  return {
    send(data) {
      ws.sendBinary(data);
      return ws.getBufferedAmount();
    },
    pause: () => void ws.pause(),
    resume: () => void ws.resume(),
    close: (code, reason) => ws.close(code, reason),
  };
}

/**
 * Upgrades a request to a WebSocket. Returns undefined because Bun has already answered. Errors: invalid for a request
 * that is not an upgrade; forbidden for a foreign origin; those of the route.
 */
export function upgrade(
  request: Request,
  server: Server<SocketData>,
  route: SocketRoute,
  rules: UpgradeRules,
): undefined {
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    throw new UnibusError("invalid", `${route.path} is a WebSocket endpoint (connect with ws:// or wss://)`);
  }
  const origin = request.headers.get("origin");
  if (!isAllowedOrigin(origin, route, rules)) {
    throw new UnibusError("forbidden", `origin ${origin} is not allowed (add it to http.cors_origins)`);
  }
  const peer = server.requestIP(request)?.address ?? "";
  const address = clientAddress(peer, request.headers.get("x-forwarded-for"), rules.isTrustedProxy);
  const accepted = route.accept({ address, isForwarded: isForwarded(request.headers) });
  const data: SocketData = { open: (socket) => accepted.open(socket), handler: null };
  if (server.upgrade(request, { data })) return undefined;
  accepted.abandoned();
  throw new UnibusError(
    "invalid",
    "the WebSocket handshake is incomplete (send Sec-WebSocket-Key and Sec-WebSocket-Version)",
  );
}

/** A socket route that listens on its own address. */
export interface OwnListener {
  /** Reloads the TLS files. */
  reload(): Promise<void>;
  stop(): Promise<void>;
}

/** Serves a route on its own address. Errors: invalid if the address is in use or cannot be bound. */
export function listenSockets(
  route: SocketRoute,
  listener: SocketListener,
  {
    rules,
    limiter,
    sockets,
    now,
  }: {
    readonly rules: UpgradeRules;
    readonly limiter: Limiter;
    readonly sockets: OpenSockets;
    readonly now: () => number;
  },
): OwnListener {
  const { hostname, tls, setting, option } = listener;
  const answer = (request: Request, server: Server<SocketData>): Response | undefined => {
    try {
      const peer = server.requestIP(request)?.address ?? "";
      const client = clientAddress(peer, request.headers.get("x-forwarded-for"), rules.isTrustedProxy);
      limiter.demand(clientKey(client), now());
      return upgrade(request, server, route, rules);
    } catch (error) {
      const { code, message } = asUnibusError(error);
      return Response.json({ error: message, code }, { status: statusOf[code], headers: { connection: "close" } });
    }
  };
  const bind = (port: number, reusePort: boolean): Server<SocketData> => {
    const files = tls === null ? {} : { tls: { ...readTlsFiles(tls.cert, tls.key), ciphers: tls12Ciphers } };
    const serve = () =>
      Bun.serve({ hostname, port, reusePort, ...files, development: false, fetch: answer, websocket: sockets.handler });
    return binding({ hostname, port }, serve, { setting, option });
  };
  let server = bind(listener.port, false);
  const port = server.port ?? listener.port;
  listener.bound(port);
  return {
    async reload() {
      if (tls === null) return;
      const old = server;
      readTlsFiles(tls.cert, tls.key);
      if (!sharePort(port)) void old.stop();
      server = bind(port, true);
      await handOver(port);
      void old.stop();
    },
    async stop() {
      await server.stop(true);
    },
  };
}
