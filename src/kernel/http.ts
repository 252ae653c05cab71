/**
 * The HTTP side: takes routes as data, serves requests. The only file that imports Elysia.
 * A request passes CORS, the rate limit and its route's handler, and every reply carries a request id. `listen` binds
 * one listener plus one for each socket route with its own address. `reload` replaces the listener without dropping a
 * connection; `stop` waits up to 5 s for requests in flight. boot.ts uses it.
 */
import type { Server } from "bun";
import { Elysia } from "elysia";
import type { Auth } from "../contracts/auth.ts";
import { Limiter } from "../contracts/limiter.ts";
import { isRawReply, type Log, type Route } from "../contracts/plugin.ts";
import type { Reserve } from "../contracts/reserve.ts";
import { methodTable, upgradeOf } from "../contracts/route-table.ts";
import type { SocketRoute } from "../contracts/socket.ts";
import { readTlsFiles, tls12Ciphers } from "../contracts/tls.ts";
import { UserShare } from "../contracts/user-share.ts";
import { clientKey } from "../wire/address.ts";
import { asUnibusError, statusOf, UnibusError } from "../wire/errors.ts";
import { routes } from "../wire/routes.ts";
import { requestIdHeader } from "../wire/sign.ts";
import { RequestBody } from "./http-body.ts";
import { etagOf, isKnown } from "./http-etag.ts";
import { type Incoming, requestTarget, routeHandler } from "./http-handler.ts";
import { clientAddress, corsHeaders, proxyList } from "./http-limits.ts";
import { binding, handOver, sharePort } from "./http-port.ts";
import {
  listenSockets,
  OpenSockets,
  type OwnListener,
  type SocketData,
  type UpgradeRules,
  upgrade,
} from "./http-sockets.ts";
import { type HttpConfig, isTls } from "./manifest.ts";

/** How long requests in flight may take after the bus begins to stop, in milliseconds. */
const drainMs = 5_000;
/** Default rate limit for one client, in requests per second. */
const rateDefault = 100;
/** Part of the rate limit that a client gets for guessing secrets and for failed authentication. */
const tightShare = 0.1;
/** Default keep-alive of an idle connection, in seconds. Source: docs/protocol/requests.md. */
const keepaliveSDefault = 75;

/** Default headers of every reply: no cache may store it, unless its route allows that. */
const cacheHeaders = { "cache-control": "no-store" };
const jsonHeaders = { "content-type": "application/json;charset=utf-8", ...cacheHeaders };

/** The inputs of the HTTP side: configuration, routes and services. */
export interface HttpOptions {
  readonly config: HttpConfig;
  readonly hostname: string;
  readonly port: number;
  readonly routes: readonly Route[];
  readonly sockets: readonly SocketRoute[];
  /** Origins of this bus's own pages. */
  readonly ownOrigins: () => readonly string[];
  readonly auth: Auth | undefined;
  readonly reserve: Reserve | undefined;
  readonly log: Log;
  readonly now: () => number;
}

/** A bound HTTP side. */
export interface Listener {
  readonly port: number;
  /** Reloads the TLS files. New connections use them; existing connections stay open. */
  reload(): Promise<void>;
  /** Refuses new requests, lets those in flight finish for up to 5 s, then closes. */
  stop(): Promise<void>;
}

/** The inputs of an error reply besides the error. */
interface FailureOptions {
  /** The request's body, if some of it may have been read. */
  readonly body?: RequestBody;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Creates replies, each with a request id and, for an allowed origin, CORS headers. */
class Replies {
  readonly #boot = Math.floor(Math.random() * 2 ** 40).toString(36);
  readonly #ids = new WeakMap<Request, string>();
  #count = 0;

  constructor(
    private readonly log: Log,
    private readonly origins: readonly string[],
  ) {}

  /** The id of a request, in its reply and in the log. */
  idOf(request: Request): string {
    const id = this.#ids.get(request) ?? `${this.#boot}-${(++this.#count).toString(36)}`;
    this.#ids.set(request, id);
    return id;
  }

  /** Answers a preflight request. Errors: forbidden for a foreign origin. */
  preflight(origin: string): Response {
    const headers = corsHeaders(origin, this.origins);
    if (headers.vary !== undefined) return new Response(null, { status: 204, headers });
    throw new UnibusError("forbidden", "this origin is not allowed (add it to http.cors_origins)");
  }

  success({ spec }: Route, { request, sent }: Incoming, result: unknown): Response {
    if (isRawReply(result)) {
      sent?.(result.size);
      const own = Object.fromEntries(Object.entries(result.headers).map(([key, value]) => [key.toLowerCase(), value]));
      return this.#make(request, result.body as BodyInit, result.status, { ...cacheHeaders, ...own });
    }
    if (spec.reply === undefined) return this.#make(request, null, 204, cacheHeaders);
    const body = JSON.stringify(result);
    sent?.(Buffer.byteLength(body));
    if (spec.etag !== true) return this.#make(request, body, spec.status ?? 200, jsonHeaders);
    const tagged = { etag: etagOf(body), "cache-control": "private, no-cache" };
    if (isKnown(request.headers.get("if-none-match"), tagged.etag)) return this.#make(request, null, 304, tagged);
    return this.#make(request, body, spec.status ?? 200, { ...jsonHeaders, ...tagged });
  }

  /** Creates the reply for an error, with only safe details. The cause goes to the log with the request id. */
  failure(request: Request, error: unknown, more: FailureOptions = {}): Response {
    const known = asUnibusError(error);
    const headers: Record<string, string> = { ...jsonHeaders, ...more.headers };
    const pending = more.body ?? new RequestBody(request);
    // Otherwise the server would parse the rest of the body as the next request, or wait for it.
    if (pending.isPending) headers.connection = "close";
    if (known.retryAfterS !== undefined) headers["retry-after"] = String(known.retryAfterS);
    const text = JSON.stringify({ error: known.message, code: known.code, details: known.details });
    const reply = this.#make(request, pending.refusal(text), statusOf[known.code], headers);
    if (reply.status >= 500) {
      const fields = { request_id: this.idOf(request), method: request.method, code: known.code };
      this.log.error(known.message, { ...fields, cause: known.cause });
    }
    return reply;
  }

  #make(request: Request, body: BodyInit | null, status: number, headers: Readonly<Record<string, string>>): Response {
    const more = corsHeaders(request.headers.get("origin"), this.origins);
    return new Response(body, { status, headers: { ...headers, [requestIdHeader]: this.idOf(request), ...more } });
  }
}

/** The requests of one bus: rate-limited, routed, and counted while in flight. */
class Requests {
  readonly replies: Replies;
  readonly limiter: Limiter;
  readonly openSockets = new OpenSockets();
  readonly upgradeRules: UpgradeRules;
  /** For guesses by strangers: secrets and failed authentication. */
  readonly #tightLimiter: Limiter;
  readonly #trusted: (address: string) => boolean;
  readonly #methodsOf: (path: string) => string[];
  readonly #share: UserShare;
  inFlight = 0;
  stopping = false;

  constructor(private readonly options: HttpOptions) {
    const { cors_origins = [], trusted_proxies = [], rate = rateDefault } = options.config;
    this.limiter = new Limiter(rate);
    this.#tightLimiter = new Limiter(rate * tightShare);
    this.#trusted = proxyList(trusted_proxies);
    this.upgradeRules = { ownOrigins: options.ownOrigins, corsOrigins: cors_origins, isTrustedProxy: this.#trusted };
    this.#methodsOf = methodTable([...options.routes.map(({ spec }) => spec), ...options.sockets.map(upgradeOf)]);
    this.#share = new UserShare({ share: options.config.user_share });
    this.replies = new Replies(options.log, cors_origins);
  }

  /** Admits a request: CORS first, then the rate limit. Returns a reply only if it answers the request. */
  admit(request: Request, app: Elysia): Response | undefined {
    if (this.stopping) throw new UnibusError("unavailable", "the server is stopping (try another node, or try again)");
    const { path } = requestTarget(request);
    const origin = request.headers.get("origin");
    if (request.method === "OPTIONS" && origin !== null && request.headers.has("access-control-request-method")) {
      return this.replies.preflight(origin);
    }
    if (path !== routes.bus.healthz.path) this.limiter.demand(this.#client(request, app), this.options.now());
    return undefined;
  }

  /** Releases the resources that are not tied to a request. */
  close(): void {
    this.#share.close();
  }

  /** The reply to a request without a route: 404, or 405 with the methods that the path has. */
  miss(request: Request): Response {
    const { path } = requestTarget(request);
    const methods = this.#methodsOf(path);
    if (methods.length === 0) {
      return this.replies.failure(request, new UnibusError("not_found", "no such route (see /openapi.json)"));
    }
    const allow = methods.flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method])).join(", ");
    const error = new UnibusError("method_not_allowed", `method ${request.method} is not allowed (use ${allow})`);
    return this.replies.failure(request, error, { headers: { allow } });
  }

  /** Returns the function that serves a route's requests. */
  route(route: Route, app: Elysia): (context: Pick<Incoming, "request" | "params">) => Promise<Response> {
    const handle = routeHandler(route, { ...this.options, share: this.#share });
    return async ({ request, params }) => {
      const began = performance.now();
      const body = new RequestBody(request);
      const from = { peer: peerOf(request, app), address: this.#address(request, app) };
      const incoming: Incoming = { request, params, ...from, requestId: this.replies.idOf(request), body };
      // Bytes do not renew the idle timeout, which runs from the start of a request. Bodies have their own deadline.
      if (body.isPending) app.server?.timeout(request, 0);
      this.inFlight += 1;
      let reply: Response;
      try {
        if (route.spec.rate === "tight") this.#takeTight(request, app);
        const result = await handle(incoming).catch((error: unknown) => {
          // A client that fails to authenticate repeatedly gets 429 instead.
          if (statusOf[asUnibusError(error).code] === 401) this.#takeTight(request, app);
          throw error;
        });
        // The idle timeout would abort a slow download, so use the longest one that Bun allows.
        if (isRawReply(result) && typeof result.body === "object") app.server?.timeout(request, 255);
        reply = this.replies.success(route, incoming, result);
        body.leave();
      } catch (error) {
        reply = this.replies.failure(request, error, { body });
      }
      this.inFlight -= 1;
      if (this.options.config.access_log) this.#logAccess(route, request, reply, performance.now() - began);
      return reply;
    };
  }

  /** Returns the function that upgrades a socket route's requests. */
  socket(route: SocketRoute, app: Elysia): (context: { readonly request: Request }) => Response | undefined {
    return ({ request }) => {
      try {
        if (app.server === null) throw new UnibusError("unavailable", "the server is stopping (try again)");
        return upgrade(request, app.server as Server<SocketData>, route, this.upgradeRules);
      } catch (error) {
        return this.replies.failure(request, error);
      }
    };
  }

  #address(request: Request, app: Elysia): string {
    return clientAddress(peerOf(request, app), request.headers.get("x-forwarded-for"), this.#trusted);
  }

  #client(request: Request, app: Elysia): string {
    return clientKey(this.#address(request, app));
  }

  #takeTight(request: Request, app: Elysia): void {
    this.#tightLimiter.demand(this.#client(request, app), this.options.now());
  }

  /** Logs one line, with the route's path instead of the request's: no query, name or secret. */
  #logAccess(route: Route, request: Request, reply: Response, ms: number): void {
    const { status, headers } = reply;
    const fields = { method: request.method, path: route.spec.path, status, ms: Math.round(ms * 10) / 10 };
    this.options.log.info("request", { ...fields, request_id: headers.get(requestIdHeader) });
  }
}

const peerOf = (request: Request, app: Elysia): string => app.server?.requestIP(request)?.address ?? "";

/**
 * Binds an app that serves the requests. `reusePort` binds it beside another listener of this process. Errors: invalid
 * if the address is in use or cannot be bound.
 */
function bind(requests: Requests, options: HttpOptions, port: number, reusePort: boolean): Elysia {
  const { replies } = requests;
  const app = new Elysia({ normalize: false, strictPath: true });
  app.onRequest(({ request }) => {
    try {
      return requests.admit(request, app);
    } catch (error) {
      return replies.failure(request, error);
    }
  });
  app.onError(({ request, code, error }) =>
    code === "NOT_FOUND" ? requests.miss(request) : replies.failure(request, error),
  );
  for (const route of options.routes) {
    app.route(route.spec.method, route.spec.path, requests.route(route, app) as never, { parse: "none" } as never);
  }
  for (const route of options.sockets) {
    app.route("GET", route.path, requests.socket(route, app) as never, { parse: "none" } as never);
  }
  const { hostname, config } = options;
  const websocket = requests.openSockets.handler as never;
  const idleTimeout = config.keepalive_s ?? keepaliveSDefault;
  const files = isTls(config) ? readTlsFiles(config.tls_cert, config.tls_key) : null;
  const tls = files === null ? {} : { tls: { ...files, ciphers: tls12Ciphers } };
  const usual = { idleTimeout, development: false, maxRequestBodySize: Number.MAX_SAFE_INTEGER };
  binding({ hostname, port }, () => app.listen({ hostname, port, reusePort, ...usual, ...tls, websocket }));
  return app;
}

/** Binds the listener. Errors: invalid if the address is in use or cannot be bound, or a TLS file is not readable. */
export function listen(options: HttpOptions): Listener {
  const requests = new Requests(options);
  let app = bind(requests, options, options.port, false);
  const port = app.server?.port ?? options.port;
  const own = ownListeners(requests, options);
  return {
    port,
    async reload() {
      await Promise.all(own.map((listener) => listener.reload()));
      if (!isTls(options.config)) return;
      const old = app;
      // Read the files before anything changes, so that bad files leave everything as it is.
      readTlsFiles(options.config.tls_cert, options.config.tls_key);
      // If the listener cannot be marked, the port is free for a moment and connections may be refused.
      if (!sharePort(port)) void old.server?.stop();
      app = bind(requests, options, port, true);
      await handOver(port);
      void old.server?.stop();
    },
    async stop() {
      requests.stopping = true;
      requests.close();
      requests.openSockets.closeAll();
      const end = performance.now() + drainMs;
      while (requests.inFlight > 0 && performance.now() < end) await Bun.sleep(5);
      await Promise.all([app.server?.stop(true), ...own.map((listener) => listener.stop())]);
    },
  };
}

/** Starts the listeners of the socket routes that have their own address. */
function ownListeners(requests: Requests, { sockets, now }: HttpOptions): OwnListener[] {
  const { upgradeRules: rules, limiter, openSockets } = requests;
  return sockets.flatMap((route) =>
    route.listener === undefined
      ? []
      : [listenSockets(route, route.listener, { rules, limiter, sockets: openSockets, now })],
  );
}
