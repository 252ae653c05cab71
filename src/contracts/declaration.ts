/**
 * Validates a plugin's declaration against the contract in `plugin.ts` when the bus boots. The compiler checks the
 * same, but a plugin may be plain JavaScript, built against another version, or cast: a misspelt `access` would then
 * open a route to everyone. So every key and every closed choice is checked again. The tables below are complete by
 * type: a key or choice that is added to the contract does not compile until it is added here.
 */
import { statusOf } from "../wire/errors.ts";
import type { Access, Cost, Live, Method, Plugin, Route, Shape, Tokens } from "./plugin.ts";
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

const ofRoute: Checks<Route> = {
  method: oneOf<Method>({ GET: true, POST: true, PUT: true, DELETE: true }),
  path,
  access: oneOf<Access>({ public: true, signed: true, admin: true }),
  shape: when("an object", isObject),
  handle: func,
};

const ofSocket: Checks<SocketRoute> = {
  path,
  origins: when("an array of strings", (value) => Array.isArray(value) && value.every(isText)),
  listener: optional(when("an object", isObject)),
  accept: func,
};

const ofShape: Checks<Shape> = {
  params: optional(objectSchema),
  query: optional(objectSchema),
  body: schema,
  bodyOptional: yes,
  stream: yes,
  bodyBytesMax: positive,
  space: optional(oneOf<NonNullable<Shape["space"]>>({ grows: true, frees: true, departs: true, judged: true })),
  rate: optional(oneOf<NonNullable<Shape["rate"]>>({ tight: true })),
  reply: schema,
  replyType: optional(text),
  status: optional(when("200 or 201", (value) => value === 200 || value === 201)),
  cost: optional(oneOf<Cost>({ list: true, statements: true, history: true, key: true })),
  etag: yes,
  errors: optional(codes),
  summary: text,
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

/** Finds a declared parameter that the path lacks: it would be missing from every request. */
function paramsFault(where: string, { path: declared, shape }: Route): DeclarationFault | null {
  const inPath = [...declared.matchAll(/:([a-z_]+)/g)].map(([, param]) => param);
  const odd = Object.keys(shape.params?.properties ?? {}).find((param) => !inPath.includes(param));
  return odd === undefined
    ? null
    : { what: `${where}params declares ${odd}, which is not in the path`, hint: `add :${odd} to the path` };
}

function routeFault(route: unknown): DeclarationFault | null {
  if (!isObject(route)) return { what: `a route is ${shown(route)}`, hint: "create it with route(...)" };
  const known = [route.method, route.path].map((part) => (isText(part) ? part : shown(part)));
  const where = `route ${known.join(" ")}: `;
  return (
    faultIn(where, route, ofRoute) ??
    faultIn(where, route.shape as Shape, ofShape) ??
    paramsFault(where, route as unknown as Route)
  );
}

function socketFault(socket: unknown): DeclarationFault | null {
  if (!isObject(socket)) return { what: `a socket is ${shown(socket)}`, hint: "declare a path, origins and accept" };
  return faultIn(`socket ${isText(socket.path) ? socket.path : shown(socket.path)}: `, socket, ofSocket);
}

/**
 * Checks a plugin before its setup runs. `value` is any export of a file or a built-in. Returns null if it is valid.
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

/** Checks what a plugin's setup returned. Returns null if it is valid. */
export function liveFault(value: unknown): DeclarationFault | null {
  if (!isObject(value)) return { what: `setup returned ${shown(value)}`, hint: "return at least { services: {} }" };
  const fault = faultIn("setup returned an invalid value: ", value, ofLive);
  if (fault !== null) return fault;
  for (const route of (value.routes as readonly unknown[] | undefined) ?? []) {
    const wrong = routeFault(route);
    if (wrong !== null) return wrong;
  }
  for (const socket of (value.sockets as readonly unknown[] | undefined) ?? []) {
    const wrong = socketFault(socket);
    if (wrong !== null) return wrong;
  }
  return null;
}
