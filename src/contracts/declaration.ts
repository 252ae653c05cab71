/**
 * Validates a plugin's declaration against the contract in `plugin.ts` when the bus boots. The compiler checks the
 * same, but a plugin may be plain JavaScript, built against another version, or cast: a misspelt `access` would then
 * open a route to everyone. So every key and every closed choice is checked again. The tables below are complete by
 * type: a key or choice that is added to the contract does not compile until it is added here.
 */
import { statusOf } from "../wire/errors.ts";
import {
  type Access,
  type Cost,
  isBytes,
  type Method,
  paramsOf,
  type RouteSpace,
  type RouteSpec,
} from "../wire/route.ts";
import type { Live, Plugin, Route, Tokens } from "./plugin.ts";
import type { SocketRoute } from "./socket.ts";

/** What is wrong with a declaration, and how to fix it. */
export interface DeclarationFault {
  readonly what: string;
  readonly hint: string;
}

/** Checks a value. Returns a description of the valid values, or null if the value is valid. */
type Check = (value: unknown) => string | null;
type Checks<T> = { readonly [K in keyof T]-?: Check };

/** A closed choice. The record must list every value of the type, or it does not compile. */
const oneOf = <T extends string>(values: Readonly<Record<T, true>>): Check => {
  const all = Object.keys(values);
  return (value) => (typeof value === "string" && all.includes(value) ? null : `one of ${all.join(", ")}`);
};
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined ? null : check(value);
const when =
  (wanted: string, holds: (value: unknown) => boolean): Check =>
  (value) =>
    holds(value) ? null : wanted;

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value: unknown): value is string => typeof value === "string" && value !== "";
const isPositive = (value: unknown) => typeof value === "number" && Number.isInteger(value) && value > 0;

const text = when("a non-empty string", isText);
const func = when("a function", (value) => typeof value === "function");
const yes = optional(when("true, or omitted", (value) => value === true));
const schema = optional(when("a TypeBox schema", isObject));
const objectSchema = when("a Type.Object(...)", (value) => isObject(value) && value.type === "object");
const positive = optional(when("a positive integer", isPositive));
const texts = when("an object of strings", (value) => isObject(value) && Object.values(value).every(isText));
const tokens = when(
  "an object of tokens (create them with token(...))",
  (value) => isObject(value) && Object.values(value).every((token) => isObject(token) && isText(token.id)),
);
const codes = when(
  `an array of ${Object.keys(statusOf).join(", ")}`,
  (value) => Array.isArray(value) && value.every((code) => Object.hasOwn(statusOf, code)),
);

/** A plugin name as `--set NAME.KEY=VALUE` accepts it. `http` is reserved there for the listener's settings. */
const name = when(
  "lowercase letters, digits, dots and dashes, but not http",
  (value) => typeof value === "string" && /^[a-z][a-z0-9.-]*$/.test(value) && value !== "http",
);
const path = when(
  "/ or segments like /word or /:name",
  (value) => typeof value === "string" && (value === "/" || /^(\/(:[a-z_]+|[A-Za-z0-9._~-]+))+$/.test(value)),
);

const ofPlugin: Checks<Plugin> = {
  name,
  api: when("1", (value) => value === 1),
  config: objectSchema,
  provides: optional(tokens),
  requires: optional(tokens),
  optional: optional(tokens),
  routes: optional(when("an array", Array.isArray)),
  setupBudgetMs: positive,
  facts: optional(func),
  setup: func,
};

const ofLive: Checks<Live<Tokens>> = {
  services: when("an object, {} if the plugin provides no service", isObject),
  routes: optional(when("an array", Array.isArray)),
  sockets: optional(when("an array", Array.isArray)),
  posture: optional(texts),
  info: optional(func),
  start: optional(func),
  health: optional(func),
};

const ofRoute: Checks<Route> = { spec: when("an object", isObject), handle: func };

const ofSpec: Checks<RouteSpec> = {
  method: oneOf<Method>({ GET: true, POST: true, PUT: true, DELETE: true }),
  path,
  access: oneOf<Access>({ public: true, signed: true, admin: true }),
  summary: text,
  params: optional(objectSchema),
  query: optional(objectSchema),
  body: schema,
  bodyOptional: yes,
  stream: yes,
  bodyBytesMax: positive,
  space: optional(oneOf<RouteSpace>({ grows: true, frees: true, departs: true, judged: true })),
  rate: optional(oneOf<NonNullable<RouteSpec["rate"]>>({ tight: true })),
  reply: schema,
  status: optional(when("one of 200, 201", (value) => value === 200 || value === 201)),
  cost: optional(oneOf<Cost>({ list: true, statements: true, history: true, key: true, survey: true })),
  etag: yes,
  errors: optional(codes),
};

const ofSocket: Checks<SocketRoute> = {
  path,
  origins: when("an array of strings", (value) => Array.isArray(value) && value.every(isText)),
  listener: optional(when("an object", isObject)),
  accept: func,
};

/** Formats a value for an error message. */
function shown(value: unknown): string {
  if (value === undefined) return "missing";
  if (typeof value === "function") return "a function";
  const json = JSON.stringify(value) ?? String(value);
  return json.length > 60 ? `${json.slice(0, 60)}...` : json;
}

/** The first unknown key or invalid value of an object. */
function faultIn(where: string, value: object, checks: Readonly<Record<string, Check>>): DeclarationFault | null {
  const known = Object.keys(checks);
  const unknown = Object.keys(value).find((key) => !known.includes(key));
  if (unknown !== undefined) return { what: `${where}unknown key ${unknown}`, hint: `known keys: ${known.join(", ")}` };
  for (const [key, check] of Object.entries(checks)) {
    const given = (value as Readonly<Record<string, unknown>>)[key];
    const wanted = check(given);
    if (wanted !== null) return { what: `${where}${key} is ${shown(given)}`, hint: `wanted: ${wanted}` };
  }
  return null;
}

/** Finds keys of a route that contradict each other. */
function conflictIn({ path: declared, params, body, stream, bodyOptional }: RouteSpec): DeclarationFault | null {
  const odd = Object.keys(params?.properties ?? {}).find((param) => !paramsOf(declared).includes(param));
  // Such a parameter would be missing from every request.
  if (odd !== undefined) {
    return { what: `params declares ${odd}, which is not in the path`, hint: `add :${odd} to the path` };
  }
  if (body === undefined && (stream || bodyOptional)) {
    return {
      what: `${stream ? "stream" : "bodyOptional"} is true without a body`,
      hint: "add body: a schema, or Bytes",
    };
  }
  return isBytes(body) && !stream ? { what: "body is Bytes without stream", hint: "add stream: true" } : null;
}

/** Checks one declared route. Returns null if it is valid. */
export function routeFault(spec: unknown): DeclarationFault | null {
  if (!isObject(spec)) return { what: `a route is ${shown(spec)}`, hint: "declare it with defineRoute({...})" };
  const where = `route ${[spec.method, spec.path].map((part) => (isText(part) ? part : shown(part))).join(" ")}: `;
  const fault = faultIn("", spec, ofSpec) ?? conflictIn(spec as unknown as RouteSpec);
  return fault === null ? null : { ...fault, what: where + fault.what };
}

/** Finds a declared route without a handler, or a handler of a route that is not declared. */
function boundFault(declared: readonly RouteSpec[], bound: readonly unknown[]): DeclarationFault | null {
  for (const one of bound) {
    if (!isObject(one)) return { what: `a route is ${shown(one)}`, hint: "create it with route(...)" };
    const fault = faultIn("setup returned an invalid route: ", one, ofRoute);
    if (fault !== null) return fault;
  }
  const routes = bound as readonly Route[];
  const name = ({ method, path }: RouteSpec) => `${method} ${path}`;
  const extra = routes.find(({ spec }) => !declared.includes(spec));
  if (extra !== undefined) {
    const what = `setup returned a handler of ${name(extra.spec)}, which the plugin does not declare`;
    return { what, hint: "add the same object to routes" };
  }
  const odd = declared.find((spec) => routes.filter((route) => route.spec === spec).length !== 1);
  if (odd === undefined) return null;
  const count = routes.some(({ spec }) => spec === odd) ? "more than one handler" : "no handler";
  return { what: `setup returned ${count} of ${name(odd)}`, hint: "return route(spec, handler) once" };
}

function socketFault(socket: unknown): DeclarationFault | null {
  if (!isObject(socket)) return { what: `a socket is ${shown(socket)}`, hint: "declare a path, origins and accept" };
  return faultIn(`socket ${isText(socket.path) ? socket.path : shown(socket.path)}: `, socket, ofSocket);
}

/**
 * Checks a plugin before its setup runs, except for its routes, which `routesFault` checks. `value` is any export of a
 * file or a built-in. Returns null if it is valid.
 */
export function pluginFault(value: unknown): DeclarationFault | null {
  if (!isObject(value) || typeof value.setup !== "function") {
    return { what: "does not export a plugin", hint: "export default definePlugin({...})" };
  }
  if (value.api !== 1)
    return {
      what: `targets plugin API ${value.api === undefined ? "none" : shown(value.api)}`,
      hint: "this version supports API 1",
    };
  return faultIn("", value, ofPlugin);
}

/** Checks what the setup of a plugin with these declared routes returned. Returns null if it is valid. */
export function liveFault(value: unknown, declared: readonly RouteSpec[] = []): DeclarationFault | null {
  if (!isObject(value)) return { what: `setup returned ${shown(value)}`, hint: "return at least { services: {} }" };
  const fault = faultIn("setup returned an invalid value: ", value, ofLive);
  if (fault !== null) return fault;
  const wrongRoute = boundFault(declared, (value.routes as readonly unknown[] | undefined) ?? []);
  if (wrongRoute !== null) return wrongRoute;
  for (const socket of (value.sockets as readonly unknown[] | undefined) ?? []) {
    const wrong = socketFault(socket);
    if (wrong !== null) return wrong;
  }
  return null;
}
