import type { TSchema } from "@sinclair/typebox";
import { type TypeCheck, TypeCompiler } from "@sinclair/typebox/compiler";
import { type Auth, type Caller, type Identified, requestHead } from "../contracts/auth.ts";
import type { Call, Route } from "../contracts/plugin.ts";
import type { Reserve } from "../contracts/reserve.ts";
import type { UserShare } from "../contracts/user-share.ts";
import { bodyBytesMax } from "../wire/api.ts";
import { sha256Hex } from "../wire/encoding.ts";
import { UnibusError } from "../wire/errors.ts";
import { faultText, valuesOf } from "../wire/fault.ts";
import type { RouteSpec } from "../wire/route.ts";
import { isHost, pathFault, type Target, targetOf } from "../wire/target.ts";
import { checkDeclared, declaredSize, otherBody, type RequestBody, withBody } from "./http-body.ts";

/** A request as its route receives it. `peer` is its connection's remote end, `address` the client behind a proxy. */
export interface Incoming {
  readonly request: Request;
  readonly params: Record<string, string>;
  readonly peer: string;
  readonly address: string;
  readonly requestId: string;
  readonly body: RequestBody;
  /** Charges a costly read for the bytes of its reply, or for none (null) if it failed. */
  sent?: (bytes: number | null) => void;
}

/** Handles one request from its headers to its result. Order of the checks: docs/protocol/requests.md. */
export type Handler = (incoming: Incoming) => Promise<unknown>;

type Checker = (value: unknown, part: string) => unknown;

function checker(schema: TSchema | undefined, convert: boolean): Checker {
  if (schema === undefined) return () => undefined;
  let compiled: TypeCheck<TSchema> | undefined;
  return (given, part) => {
    compiled ??= TypeCompiler.Compile(schema);
    const value = convert ? valuesOf(schema, given as Record<string, string>) : given;
    if (compiled.Check(value)) return value;
    throw new UnibusError("invalid", faultText(schema, value, part));
  };
}

/** Returns the request target exactly as sent. Errors: invalid if Host is not a single host. */
export function requestTarget(request: Request): Target {
  const target = targetOf(request.url);
  if (target !== null && isHost(request.headers.get("host") ?? "")) return target;
  throw new UnibusError("invalid", "the Host header is not a single host[:port] (send exactly one)");
}

function checkAccess({ access }: RouteSpec, identified: Identified | undefined): Caller | null {
  if (access === "public") return null;
  const caller = identified?.caller ?? null;
  if (caller === null || (access === "admin" && identified?.signed !== true)) {
    throw new UnibusError("unauthenticated", "this route requires a request signed by an active user (sign it)");
  }
  if (access === "admin" && caller.role !== "admin") {
    throw new UnibusError("forbidden", "this route is for admins only (ask an admin)");
  }
  return caller;
}

const noBytes: Uint8Array = new Uint8Array(0);
const noBytesHash = sha256Hex(noBytes);

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new UnibusError("invalid", "the request body is not JSON (send JSON in UTF-8)");
  }
}

/** Reserves store space for a write; the result, if any, gives it back. Errors: those of `Reserve.admit`. */
async function admitWrite({ method, space }: RouteSpec, { reserve }: Guards, caller: Caller | null, request: Request) {
  const use = space ?? (method === "GET" ? "judged" : "grows");
  if (use === "judged") return undefined;
  return reserve?.admit(use, caller, declaredSize(request) ?? 0);
}

/** The services that check a request before its route runs. */
export interface Guards {
  readonly auth: Auth | undefined;
  readonly reserve: Reserve | undefined;
  /** Bounds the server time that one user takes. */
  readonly share?: UserShare | undefined;
}

/** Creates the handler of a route. */
export function routeHandler({ spec, handle }: Route, guards: Guards): Handler {
  const { auth } = guards;
  const checkParams = checker(spec.params, true);
  const checkQuery = checker(spec.query, true);
  const checkBody = checker(spec.body, false);
  const bytesMax = spec.bodyBytesMax ?? bodyBytesMax;
  return async (incoming) => {
    const { request } = incoming;
    const { target, path, query } = requestTarget(request);
    const fault = pathFault(path);
    if (fault !== null) throw new UnibusError("invalid", fault);
    checkDeclared(request, bytesMax);
    const head = requestHead(request, target, incoming.peer);
    const identified = spec.access === "public" ? undefined : await auth?.identify(head);
    const caller = checkAccess(spec, identified);
    const hash = identified?.bodyHash ?? null;
    const call = {
      params: checkParams(incoming.params, "path"),
      query: checkQuery(query === "" ? {} : Object.fromEntries(new URLSearchParams(query)), "query"),
      signal: request.signal,
      ...{ address: incoming.address, requestId: incoming.requestId },
      caller,
      read: async () => (bytes.length === 0 && spec.bodyOptional ? undefined : checkBody(parseJson(bytes), "body")),
      stream: Object.assign(incoming.body.chunks({ bytesMax, hash }), { hash, size: declaredSize(request) }),
    };
    let bytes = noBytes;
    if (spec.cost !== undefined && caller !== null) {
      const sent = await guards.share?.admit(caller.signPub, spec.cost);
      if (sent !== undefined) incoming.sent = sent;
    }
    const takeBack = await admitWrite(spec, guards, caller, request);
    const run = () => handle(call as unknown as Call<RouteSpec>);
    const answer = async (): Promise<unknown> => {
      if (spec.stream === true) return run();
      if (!incoming.body.isPending) {
        if (hash !== null && hash !== noBytesHash) throw otherBody();
        return run();
      }
      if (spec.body === undefined) {
        throw new UnibusError("invalid", `${spec.method} ${path} accepts no request body (send none)`);
      }
      return withBody(call.stream, (read) => {
        bytes = read;
        return run();
      });
    };
    return answer().catch((error: unknown) => {
      takeBack?.();
      incoming.sent?.(null);
      throw error;
    });
  };
}
