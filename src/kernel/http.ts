/** The HTTP side: routes as data in, replies out. The one file that knows Elysia. */
import { Elysia } from "elysia";
import type { Auth } from "../contracts/auth.ts";
import { isRawReply, type Log, type Route } from "../contracts/plugin.ts";
import { clientKey } from "../wire/address.ts";
import { isUnibusError, statusOf, UnibusError } from "../wire/errors.ts";
import { requestIdHeader } from "../wire/sign.ts";
import { announcesBody } from "./http-body.ts";
import { type Incoming, routeHandler, targetOf } from "./http-handler.ts";
import { checkedOrigins, clientAddress, corsHeaders, Limiter, proxyList, rateDefault } from "./http-limits.ts";
import { type HttpConfig, refusal } from "./manifest.ts";

/** How long requests in flight may take after the bus began to stop, in milliseconds. Source: spec 14. */
const drainMs = 5_000;
/** How often the drain looks whether they have ended, in milliseconds. */
const drainPollMs = 5;
/** How long a silent connection lives, in seconds. */
const idleTimeoutS = 30;

const jsonHeaders = { "content-type": "application/json;charset=utf-8" };

/** What the HTTP side works with. */
export interface HttpOptions {
  readonly config: HttpConfig;
  readonly hostname: string;
  readonly port: number;
  readonly routes: readonly Route[];
  readonly auth: Auth | undefined;
  readonly log: Log;
  readonly now: () => number;
}

/** A bound HTTP side. */
export interface Listener {
  readonly port: number;
  /** Refuses new requests, lets those in flight finish for 5 s, then ends. */
  stop(): Promise<void>;
}

/** Makes replies: each with a request id and, for an allowed origin, its CORS headers. */
class Replies {
  readonly #boot = Math.floor(Math.random() * 2 ** 40).toString(36);
  readonly #log: Log;
  readonly #origins: readonly string[];
  #count = 0;

  constructor(log: Log, origins: readonly string[]) {
    this.#log = log;
    this.#origins = origins;
  }

  /** The answer to a preflight. Errors: forbidden for a foreign origin. */
  preflight(origin: string): Response {
    const headers = corsHeaders(origin, this.#origins);
    if (Object.keys(headers).length > 0) return new Response(null, { status: 204, headers });
    throw new UnibusError("forbidden", "this origin is not allowed here (see http.cors_origins)");
  }

  success({ shape }: Route, request: Request, result: unknown): Response {
    if (isRawReply(result)) return this.#make(request, result.body as BodyInit, result.status, result.headers);
    if (shape.reply === undefined) return this.#make(request, null, 204, {});
    return this.#make(request, JSON.stringify(result), shape.status ?? 200, jsonHeaders);
  }

  /** What went wrong, as far as it is safe to show; the cause goes to the log with the request's id. */
  failure(request: Request, error: unknown, bodyPending: boolean): Response {
    const known = isUnibusError(error)
      ? error
      : new UnibusError("internal", "something went wrong here", { cause: error });
    const headers: Record<string, string> = { ...jsonHeaders };
    // What is left of the body would be read as the next request, or be waited for.
    if (bodyPending) headers.connection = "close";
    if (known.retryAfterS !== undefined) headers["retry-after"] = String(known.retryAfterS);
    const body = JSON.stringify({ error: known.message, code: known.code });
    const reply = this.#make(request, body, statusOf[known.code], headers);
    if (reply.status >= 500) {
      const id = reply.headers.get(requestIdHeader);
      this.#log.error(known.message, { request_id: id, method: request.method, code: known.code, cause: known.cause });
    }
    return reply;
  }

  #make(request: Request, body: BodyInit | null, status: number, headers: Readonly<Record<string, string>>): Response {
    this.#count += 1;
    const id = `${this.#boot}-${this.#count.toString(36)}`;
    const cors = corsHeaders(request.headers.get("origin"), this.#origins);
    return new Response(body, { status, headers: { ...headers, [requestIdHeader]: id, ...cors } });
  }
}

/** Which methods a path has, by the route table. */
function pathTable(routes: readonly Route[]): (path: string) => string[] {
  const table = routes.map(({ method, path }) => {
    const shape = path.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/:[a-z_]+/g, "[^/]+");
    return { method, shape: new RegExp(`^${shape}$`) };
  });
  return (path) => table.filter(({ shape }) => shape.test(path)).map(({ method }) => method);
}

function miss(path: string, methods: readonly string[]): UnibusError {
  if (methods.length === 0) return new UnibusError("not_found", "there is no such path (see /openapi.json)");
  return new UnibusError("method_not_allowed", `${path} takes ${methods.join(", ")}`);
}

/** Lets a request in: CORS first, then the rate limit. Gives a reply where that is all there is to say. */
function gate(app: Elysia, options: HttpOptions, replies: Replies): (request: Request) => Response | undefined {
  const { config, now } = options;
  const limiter = new Limiter(config.rate ?? rateDefault);
  const trusted = proxyList(config.trusted_proxies ?? []);
  return (request) => {
    const { path } = targetOf(request);
    const origin = request.headers.get("origin");
    if (request.method === "OPTIONS" && origin !== null && request.headers.has("access-control-request-method")) {
      return replies.preflight(origin);
    }
    if (path === "/healthz") return undefined;
    const peer = app.server?.requestIP(request)?.address ?? "";
    const client = clientAddress(peer, request.headers.get("x-forwarded-for"), trusted);
    const waitS = limiter.take(clientKey(client), now());
    if (waitS === 0) return undefined;
    throw new UnibusError("rate_limited", `too many requests (try again in ${waitS} s)`, { retryAfterS: waitS });
  };
}

/** Binds the listener. Errors: invalid when the address is taken or cannot be bound. */
export function listen(options: HttpOptions): Listener {
  const app = new Elysia({ normalize: false });
  const replies = new Replies(options.log, checkedOrigins(options.config.cors_origins ?? []));
  const admit = gate(app, options, replies);
  const methodsOf = pathTable(options.routes);
  const state = { inFlight: 0, stopping: false };

  app.onRequest(({ request }) => {
    try {
      if (state.stopping) throw new UnibusError("unavailable", "the bus is stopping (try another node, or again)");
      return admit(request);
    } catch (error) {
      return replies.failure(request, error, announcesBody(request));
    }
  });
  app.onError(({ request, code, error }) => {
    const path = code === "NOT_FOUND" ? targetOf(request).path : "";
    const told = code === "NOT_FOUND" ? miss(path, methodsOf(path)) : error;
    return replies.failure(request, told, announcesBody(request));
  });
  for (const route of options.routes) {
    const handle = routeHandler(route, options.auth);
    const serve = async ({ request, params }: { request: Request; params: Record<string, string> }) => {
      const incoming: Incoming = { request, params, bodyPending: announcesBody(request) };
      // The idle timeout runs from the start of a request and bytes do not renew it: bodies have their own deadline.
      if (incoming.bodyPending) app.server?.timeout(request, 0);
      state.inFlight += 1;
      try {
        return replies.success(route, request, await handle(incoming));
      } catch (error) {
        return replies.failure(request, error, incoming.bodyPending);
      } finally {
        state.inFlight -= 1;
      }
    };
    app.route(route.method, route.path, serve as never, { parse: "none" } as never);
  }
  bind(app, options);
  return {
    port: app.server?.port ?? options.port,
    async stop() {
      state.stopping = true;
      const end = performance.now() + drainMs;
      while (state.inFlight > 0 && performance.now() < end) await Bun.sleep(drainPollMs);
      await app.server?.stop(true);
    },
  };
}

function bind(app: Elysia, { hostname, port }: HttpOptions): void {
  try {
    app.listen({
      hostname,
      port,
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      idleTimeout: idleTimeoutS,
      development: false,
      reusePort: false,
    });
  } catch (error) {
    const taken = (error as { code?: string }).code === "EADDRINUSE";
    const what = taken ? "the address is in use" : "the address cannot be bound";
    throw refusal(`http.listen ${hostname}:${port}`, what, "choose another with --http HOST:PORT");
  }
}
