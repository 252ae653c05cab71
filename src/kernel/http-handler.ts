import type { TSchema } from "@sinclair/typebox";
import { type TypeCheck, TypeCompiler } from "@sinclair/typebox/compiler";
import { Value } from "@sinclair/typebox/value";
import type { Auth, Caller, Identified } from "../contracts/auth.ts";
import type { Call, Route, Shape } from "../contracts/plugin.ts";
import { bodyBytesMax } from "../wire/api.ts";
import { UnibusError } from "../wire/errors.ts";
import { announcesBody, checkDeclared, withBody } from "./http-body.ts";

/** A request as its route sees it, and whether bytes of its body may still come. */
export interface Incoming {
  readonly request: Request;
  readonly params: Record<string, string>;
  bodyPending: boolean;
}

/** One route's whole way from head to result. Order of the checks: spec 5. */
export type Handler = (incoming: Incoming) => Promise<unknown>;

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

/** A request's target exactly as it was sent, and its parts. Errors: invalid for a Host that is not one host. */
export function targetOf(request: Request): { target: string; path: string; query: string } {
  const host = request.headers.get("host");
  const start = request.url.indexOf("/", request.url.indexOf("//") + 2);
  if (!/^https?:\/\//.test(request.url) || start === -1 || host === null || host.includes(",")) {
    throw new UnibusError("invalid", "the Host header is not one host[:port] (send one)");
  }
  const target = request.url.slice(start);
  const mark = target.indexOf("?");
  if (mark === -1) return { target, path: target, query: "" };
  return { target, path: target.slice(0, mark), query: target.slice(mark + 1) };
}

/** Refuses escapes in a path that hide a separator or are no UTF-8. */
function checkEscapes(path: string): void {
  if (!path.includes("%")) return;
  if (/%2f|%5c|%00/i.test(path)) {
    throw new UnibusError("invalid", "the path hides a separator in an escape (write it plainly)");
  }
  try {
    decodeURIComponent(path);
  } catch {
    throw new UnibusError("invalid", "the path holds a bad escape (write %XX of UTF-8)");
  }
}

function checkAccess({ access }: Route, identified: Identified | undefined): Caller | null {
  if (access === "public") return null;
  const caller = identified?.caller ?? null;
  if (caller === null || (access === "admin" && identified?.signed !== true)) {
    throw new UnibusError("unauthenticated", "this route needs a signed request of an active user (sign it)");
  }
  if (access === "admin" && caller.role !== "admin") {
    throw new UnibusError("forbidden", "this route is for admins (ask one)");
  }
  return caller;
}

function checkHash(bytes: Uint8Array, promised: string | null | undefined): void {
  if (promised === null || promised === undefined) return;
  if (new Bun.CryptoHasher("sha256").update(bytes).digest("hex") === promised) return;
  throw new UnibusError("invalid", "the body is not the one that X-Unibus-Body promises (send the body you signed)");
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new UnibusError("invalid", "the body is not JSON (send JSON in UTF-8)");
  }
}

/** Makes the handler of a route. */
export function routeHandler(route: Route, auth: Auth | undefined): Handler {
  const { shape } = route;
  const checkParams = checker(shape.params, true);
  const checkQuery = checker(shape.query, true);
  const checkBody = checker(shape.body, false);
  const bytesMax = shape.bodyBytesMax ?? bodyBytesMax;
  return async (incoming) => {
    const { request } = incoming;
    const { target, path, query } = targetOf(request);
    checkEscapes(path);
    checkDeclared(request, bytesMax);
    const head = { method: request.method, target, header: (name: string) => request.headers.get(name) };
    const identified = route.access === "public" ? undefined : await auth?.identify(head);
    const caller = checkAccess(route, identified);
    if (shape.body === undefined && announcesBody(request)) {
      throw new UnibusError("invalid", `${route.method} ${path} takes no body (send none)`);
    }
    return withBody(request, bytesMax, async (bytes) => {
      incoming.bodyPending = false;
      checkHash(bytes, identified?.bodyHash);
      const call = {
        params: checkParams(incoming.params, "path"),
        query: checkQuery(Object.fromEntries(new URLSearchParams(query)), "query"),
        get body() {
          return checkBody(parseJson(bytes), "body");
        },
        signal: request.signal,
        caller,
      };
      return route.handle(call as unknown as Call<"signed", Shape>);
    });
  };
}
