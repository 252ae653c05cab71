/** The HTTP side: routes as data in, replies out. The one file that knows Elysia. Order of the checks: spec 5. */
import type { TSchema } from "@sinclair/typebox";
import { type TypeCheck, TypeCompiler } from "@sinclair/typebox/compiler";
import { Value } from "@sinclair/typebox/value";
import { Elysia } from "elysia";
import type { Auth, Caller, Identified } from "../contracts/auth.ts";
import { type Call, isRawReply, type Log, type Route, type Shape } from "../contracts/plugin.ts";
import { bodyBytesMax } from "../wire/api.ts";
import { type ErrorCode, isUnibusError, statusOf, UnibusError } from "../wire/errors.ts";
import { requestIdHeader } from "../wire/sign.ts";
import { announcesBody, checkDeclared, withBody } from "./http-body.ts";
import { checkedOrigins, clientAddress, clientKey, corsHeaders, Limiter, proxyList, rateDefault } from "./http-limits.ts";
import { type HttpConfig, refusal } from "./manifest.ts";

/** How long requests in flight may take after the bus began to stop, in milliseconds. Source: spec 14. */
const drainMs = 5_000;
/** How long a silent connection lives, in seconds. */
const idleTimeoutS = 30;

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

type Checker = (value: unknown, part: string) => unknown;

function checker(schema: TSchema | undefined, convert: boolean): Checker {
  if (schema === undefined) return () => undefined;
  const compiled: TypeCheck<TSchema> = TypeCompiler.Compile(schema);
  return (given, part) => {
    const value = convert ? Value.Convert(schema, given) : given;
    if (compiled.Check(value)) return value;
    const first = compiled.Errors(value).First();
    const wanted = first?.schema.description === undefined ? "" : ` (wanted: ${first.schema.description})`;
    const key = first?.path.slice(1).replaceAll("/", ".") ?? "";
    throw new UnibusError("invalid", `${key === "" ? part : `${part}, ${key}`}: ${first?.message ?? "wrong"}${wanted}`);
  };
}

function pathAndQuery(request: Request): { target: string; path: string; query: string } {
  const host = request.headers.get("host");
  const start = request.url.indexOf("/", request.url.indexOf("//") + 2);
  if (!/^https?:\/\//.test(request.url) || start === -1 || host === null || host.includes(",")) {
    throw new UnibusError("invalid", "the Host header is not one host[:port] (send one)");
  }
  const target = request.url.slice(start);
  const mark = target.indexOf("?");
  return mark === -1
    ? { target, path: target, query: "" }
    : { target, path: target.slice(0, mark), query: target.slice(mark + 1) };
}

/** Refuses escapes in a path that hide a slash or are no UTF-8: every name in a path is ASCII. */
function checkEscapes(path: string): void {
  if (!path.includes("%")) return;
  let plain: string;
  try {
    plain = decodeURIComponent(path);
  } catch {
    throw new UnibusError("invalid", "the path holds a bad escape (write %XX of UTF-8)");
  }
  if (/%2f|%5c|%00/i.test(path) || plain.includes("\0")) {
    throw new UnibusError("invalid", "the path hides a separator in an escape (write it plainly)");
  }
}

const jsonHeaders = { "content-type": "application/json;charset=utf-8" };

/** Binds the listener. Errors: invalid when the address is taken or cannot be bound. */
export function listen(options: HttpOptions): Listener {
  const { config, auth, log, now } = options;
  const limiter = new Limiter(config.rate ?? rateDefault);
  const origins = checkedOrigins(config.cors_origins ?? []);
  const trusted = proxyList(config.trusted_proxies ?? []);
  const boot = Math.floor(Math.random() * 2 ** 40).toString(36);
  let requests = 0;
  let inFlight = 0;
  let stopping = false;

  const reply = (request: Request, body: BodyInit | null, status: number, headers: Record<string, string>): Response =>
    new Response(body, { status, headers: { ...headers, ...corsHeaders(request.headers.get("origin"), origins) } });

  const refuse = (request: Request, error: unknown, bodyPending: boolean): Response => {
    const id = `${boot}-${(++requests).toString(36)}`;
    const known = isUnibusError(error) ? error : new UnibusError("internal", "something went wrong here", { cause: error });
    const status = statusOf[known.code];
    if (status >= 500) {
      log.error(known.message, { request_id: id, method: request.method, code: known.code, cause: known.cause });
    }
    const headers: Record<string, string> = { ...jsonHeaders, [requestIdHeader]: id };
    if (bodyPending) headers["connection"] = "close";
    if (known.retryAfterS !== undefined) headers["retry-after"] = String(known.retryAfterS);
    return reply(request, JSON.stringify({ error: known.message, code: known.code satisfies ErrorCode }), status, headers);
  };

  const app = new Elysia({ normalize: false });

  /** CORS, then the rate limit, for every request. */
  const admit = (request: Request): Response | undefined => {
    if (stopping) throw new UnibusError("unavailable", "the bus is stopping (try another node, or again)");
    const { path } = pathAndQuery(request);
    const origin = request.headers.get("origin");
    if (request.method === "OPTIONS" && origin !== null && request.headers.has("access-control-request-method")) {
      const headers = corsHeaders(origin, origins);
      const known = Object.keys(headers).length > 0;
      if (!known) throw new UnibusError("forbidden", "this origin is not allowed here (see http.cors_origins)");
      return new Response(null, { status: 204, headers });
    }
    if (path === "/healthz") return undefined;
    const peer = app.server?.requestIP(request)?.address ?? "";
    const client = clientAddress(peer, request.headers.get("x-forwarded-for"), trusted);
    const waitS = limiter.take(clientKey(client), now());
    if (waitS > 0) {
      throw new UnibusError("rate_limited", `too many requests (try again in ${waitS} s)`, { retryAfterS: waitS });
    }
    return undefined;
  };

  app.onRequest(({ request }) => {
    try {
      return admit(request);
    } catch (error) {
      return refuse(request, error, announcesBody(request));
    }
  });

  const methodsOf = pathTable(options.routes);
  app.onError(({ request, code, error }) => {
    if (code !== "NOT_FOUND") return refuse(request, error, announcesBody(request));
    const path = new URL(request.url).pathname;
    const methods = methodsOf(path);
    const miss =
      methods.length > 0
        ? new UnibusError("method_not_allowed", `${path} takes ${methods.join(", ")}`)
        : new UnibusError("not_found", "there is no such path (see /openapi.json)");
    return refuse(request, miss, announcesBody(request));
  });

  for (const one of options.routes) {
    const handle = handler(one, auth);
    const serve = async ({ request, params }: { request: Request; params: Record<string, string> }): Promise<Response> => {
      const body = announcesBody(request);
      const state = { bodyPending: body };
      inFlight += 1;
      try {
        // The idle timeout runs from the start of a request and bytes do not renew it: bodies have their own deadline.
        if (body) app.server?.timeout(request, 0);
        const result = await handle(request, params, state);
        const id = `${boot}-${(++requests).toString(36)}`;
        if (isRawReply(result)) {
          return reply(request, result.body as BodyInit, result.status, { ...result.headers, [requestIdHeader]: id });
        }
        if (one.shape.reply === undefined) return reply(request, null, 204, { [requestIdHeader]: id });
        return reply(request, JSON.stringify(result), one.shape.status ?? 200, { ...jsonHeaders, [requestIdHeader]: id });
      } catch (error) {
        return refuse(request, error, state.bodyPending);
      } finally {
        inFlight -= 1;
      }
    };
    app.route(one.method, one.path, serve as never, { parse: "none" } as never);
  }

  try {
    app.listen({
      hostname: options.hostname,
      port: options.port,
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      idleTimeout: idleTimeoutS,
      development: false,
      reusePort: false,
    });
  } catch (error) {
    const taken = (error as { code?: string }).code === "EADDRINUSE";
    const what = taken ? "the address is in use" : "the address cannot be bound";
    throw refusal(`http.listen ${options.hostname}:${options.port}`, what, "choose another with --http HOST:PORT");
  }

  return {
    port: app.server?.port ?? options.port,
    async stop() {
      stopping = true;
      const end = performance.now() + drainMs;
      while (inFlight > 0 && performance.now() < end) await Bun.sleep(5);
      await app.server?.stop(true);
    },
  };
}

/** Which methods a path has, by the route table. */
function pathTable(routes: readonly Route[]): (path: string) => string[] {
  const table = routes.map((one) => ({
    method: one.method,
    shape: new RegExp(`^${one.path.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/:[a-z_]+/g, "[^/]+")}$`),
  }));
  return (path) => table.filter(({ shape }) => shape.test(path)).map(({ method }) => method);
}

function checkAccess(one: Route, identified: Identified): Caller {
  const { caller, signed } = identified;
  if (caller === null || (one.access === "admin" && !signed)) {
    throw new UnibusError("unauthenticated", "this route needs a signed request of an active user (sign it)");
  }
  if (one.access === "admin" && caller.role !== "admin") {
    throw new UnibusError("forbidden", "this route is for admins (ask one)");
  }
  return caller;
}

type Handle = (request: Request, params: Record<string, string>, state: { bodyPending: boolean }) => Promise<unknown>;

/** One route's whole way from head to result. */
function handler(one: Route, auth: Auth | undefined): Handle {
  const checkParams = checker(one.shape.params, true);
  const checkQuery = checker(one.shape.query, true);
  const checkBody = checker(one.shape.body, false);
  const bytesMax = one.shape.bodyBytesMax ?? bodyBytesMax;
  return async (request, params, state) => {
    const { target, path, query } = pathAndQuery(request);
    checkEscapes(path);
    checkDeclared(request, bytesMax);
    const head = { method: request.method, target, header: (name: string) => request.headers.get(name) };
    const identified = one.access === "public" ? null : ((await auth?.identify(head)) ?? null);
    const caller = identified === null ? null : checkAccess(one, identified);
    if (caller === null && one.access !== "public") throw new UnibusError("unauthenticated", "no authentication here");
    if (one.shape.body === undefined && announcesBody(request)) {
      throw new UnibusError("invalid", `${one.method} ${path} takes no body (send none)`);
    }
    return withBody(request, bytesMax, async (bytes) => {
      state.bodyPending = false;
      if (identified?.bodyHash != null && new Bun.CryptoHasher("sha256").update(bytes).digest("hex") !== identified.bodyHash) {
        throw new UnibusError("invalid", "the body is not the one that X-Unibus-Body promises (send the body you signed)");
      }
      const call = {
        params: checkParams(params, "path"),
        query: checkQuery(Object.fromEntries(new URLSearchParams(query)), "query"),
        get body() {
          return one.shape.body === undefined ? undefined : checkBody(parseJson(bytes), "body");
        },
        signal: request.signal,
        caller,
      };
      return one.handle(call as unknown as Call<"signed", Shape>);
    });
  };
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new UnibusError("invalid", "the body is not JSON (send JSON in UTF-8)");
  }
}
