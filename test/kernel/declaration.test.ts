/** Boot validates every key and every enum value that a plugin declares, since plugins may come without types. */
import { describe, expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import { boot } from "../../src/kernel/boot.ts";
import { Bytes } from "../../src/wire/route.ts";
import { type Line, nameAuth, optionsOf, recorder, refusalOf } from "./bus.ts";

const handle = async () => undefined;
const good = { method: "GET", path: "/own", access: "public", summary: "One." };
const minimal = { name: "own", api: 1, config: Type.Object({}) };

/** Why a bus with this plugin does not boot. */
async function refused(plugin: object): Promise<string> {
  const all = [nameAuth().plugin, plugin] as { readonly name: string }[];
  const options = optionsOf([], { rows: [{ use: "name-auth" }, { use: "own" }] });
  const builtins = { "name-auth": async () => ({ default: all[0] }), own: async () => ({ default: all[1] }) };
  return (await refusalOf(() => boot({ ...options, builtins }))).message;
}

/** The minimal plugin, whose setup returns `live`. */
const returning = (live: unknown, more: object = {}) => ({ ...minimal, setup: async () => live, ...more });
/** The minimal plugin with one declared route. */
const routed = (change: object) => returning({ services: {} }, { routes: [{ ...good, ...change }] });
/** The minimal plugin, whose setup returns another route than the one declared. */
const bound = (route: unknown) => returning({ services: {}, routes: [route] }, { routes: [good] });

test("a correct declaration boots", async () => {
  const { lines, log } = recorder();
  const routes = [good, { ...good, path: "/own/:a/x-y_z.1~", access: "admin", method: "DELETE" }];
  const live = {
    services: {},
    routes: routes.map((spec) => ({ spec, handle })),
    posture: { acl: "own" },
    info: () => ({}),
    start: async () => undefined,
    health: async () => ({ ok: true }),
  };
  const plugin = returning(live, { routes });
  const options = optionsOf([nameAuth().plugin, plugin as never], { log });
  await (await boot(options)).stop();
  expect(lines.filter(({ level }: Line) => level === "error")).toEqual([]);
});

describe("a route is refused, with the plugin, the route and the accepted values, for", () => {
  const access = "(wanted: one of public, signed, admin)";
  test.each([
    ["access Admin", { access: "Admin" }, `route GET /own: access is "Admin" ${access}`],
    ["access adminn", { access: "adminn" }, `route GET /own: access is "adminn" ${access}`],
    ["no access", { access: undefined }, `route GET /own: access is missing ${access}`],
    ["access null", { access: null }, `route GET /own: access is null ${access}`],
    [
      "access that is a property name of Object.prototype",
      { access: "toString" },
      `route GET /own: access is "toString" ${access}`,
    ],
    [
      "access that is a list containing a valid value",
      { access: ["admin"] },
      `route GET /own: access is ["admin"] ${access}`,
    ],
    ["method get", { method: "get" }, 'route get /own: method is "get" (wanted: one of GET, POST, PUT, DELETE)'],
    ["method PATCH", { method: "PATCH" }, 'route PATCH /own: method is "PATCH" (wanted: one of GET'],
    ["no method", { method: undefined }, "route missing /own: method is missing (wanted: one of GET"],
    ["a path without a leading slash", { path: "own" }, 'route GET own: path is "own" (wanted: / or segments like'],
    ["a path with a trailing slash", { path: "/own/" }, 'route GET /own/: path is "/own/" (wanted'],
    ["a wildcard", { path: "/own/*" }, 'route GET /own/*: path is "/own/*" (wanted'],
    ["a parameter with an uppercase letter", { path: "/:userId" }, 'route GET /:userId: path is "/:userId" (wanted'],
    ["an unknown key", { acces: "admin" }, "route GET /own: unknown key acces (known keys: method, path, access"],
    ["a handler", { handle }, "route GET /own: unknown key handle (known keys: method, path, access"],
    [
      "an option that is gone",
      { replyType: "text/plain" },
      "route GET /own: unknown key replyType (known keys: method",
    ],
  ])("%s", async (_, change, message) => {
    expect(await refused(routed(change))).toStartWith(`test.json: plugin own: ${message}`);
  });

  test.each([
    [
      "an unknown key",
      { bodyByteMax: 4096 },
      "unknown key bodyByteMax (known keys: method, path, access, summary, params, query, body, bodyOptional, stream, bo",
    ],
    ["an unknown rate", { rate: "strict" }, 'rate is "strict" (wanted: one of tight)'],
    ["an unknown status", { status: 202 }, "status is 202 (wanted: one of 200, 201)"],
    ["an unknown cost", { cost: "lists" }, 'cost is "lists" (wanted: one of list, statements, history, key, survey)'],
    ["an unknown space use", { space: "grow" }, 'space is "grow" (wanted: one of grows, frees, departs, judged)'],
    ["a stream that is not true", { stream: "yes" }, 'stream is "yes" (wanted: true, or omitted)'],
    ["an unknown error", { errors: ["nope"] }, 'errors is ["nope"] (wanted: an array of invalid, unauthenticated'],
    ["a cap of zero", { bodyBytesMax: -1 }, "bodyBytesMax is -1 (wanted: a positive integer)"],
    ["params that are not an object", { params: Type.String() }, 'params is {"type":"string"} (wanted: a Type.Object'],
    [
      "params that are not in the path",
      { params: Type.Object({ a: Type.String() }) },
      "params declares a, which is not in the path (add :a to the path",
    ],
    ["no summary", { summary: undefined }, "summary is missing (wanted: a non-empty string)"],
    ["a body option that is not true", { bodyOptional: 1 }, "bodyOptional is 1 (wanted: true, or omitted)"],
    ["an ETag that is not true", { etag: "weak" }, 'etag is "weak" (wanted: true, or omitted)'],
    ["a stream without a body", { stream: true }, "stream is true without a body (add body: a schema, or Bytes)"],
    ["an optional body without a schema", { bodyOptional: true }, "bodyOptional is true without a body (add body: a"],
    ["bytes that are not streamed", { body: Bytes }, "body is Bytes without stream (add stream: true)"],
  ])("a route is refused for %s", async (_, change, message) => {
    expect(await refused(routed(change))).toStartWith(`test.json: plugin own: route GET /own: ${message}`);
  });
});

describe("a plugin is refused, with its name and the accepted values, if it", () => {
  test.each([
    ["returns nothing", returning(undefined), "setup returned missing (return at least { services: {} })"],
    [
      "returns no services",
      returning({}),
      "setup returned an invalid value: services is missing (wanted: an object, {}",
    ],
    [
      "returns a list of services",
      returning({ services: [] }),
      "setup returned an invalid value: services is [] (wanted",
    ],
    [
      "returns an unknown key",
      returning({ services: {}, onStart: handle }),
      "setup returned an invalid value: unknown key onStart (known keys: services, routes, sockets, posture, info, start, health)",
    ],
    ["returns no handler", bound({ spec: good }), "setup returned an invalid route: handle is missing (wanted: a func"],
    ["returns no declaration", bound({ handle }), "setup returned an invalid route: spec is missing (wanted: an obj"],
    [
      "declares a single route instead of a list",
      returning({ services: {} }, { routes: good }),
      'routes is {"method":"GET"',
    ],
    [
      "declares something that is not a route",
      returning({ services: {} }, { routes: ["/own"] }),
      'a route is "/own" (declare it with',
    ],
    [
      "returns a single route instead of a list",
      returning({ services: {}, routes: good }),
      "setup returned an invalid value: routes is {",
    ],
    [
      "returns something that is not a route",
      returning({ services: {}, routes: ["/own"] }),
      'a route is "/own" (create it with',
    ],
    [
      "returns a start that is not a function",
      returning({ services: {}, start: true }),
      "setup returned an invalid value: start",
    ],
    [
      "returns a posture of numbers",
      returning({ services: {}, posture: { n: 1 } }),
      "setup returned an invalid value: po",
    ],
    ["has an unknown key", returning({ services: {} }, { require: {} }), "unknown key require (known keys: name, api,"],
    [
      "has a string in place of a token",
      returning({ services: {} }, { requires: { auth: "auth" } }),
      'requires is {"auth":"au',
    ],
    [
      "has a string as its budget",
      returning({ services: {} }, { setupBudgetMs: "9" }),
      'setupBudgetMs is "9" (wanted: a positive integer)',
    ],
    [
      "has a schema of another library",
      returning({ services: {} }, { config: Type.String() }),
      'config is {"type":"string"} (wan',
    ],
    [
      "has the name of the kernel's listener",
      returning({ services: {} }, { name: "http" }),
      'name is "http" (wanted: lowercase',
    ],
    ["has a name that --set cannot address", returning({ services: {} }, { name: "My plugin" }), 'name is "My plugin"'],
  ])("%s", async (_, plugin, message) => {
    expect(await refused(plugin)).toStartWith(`test.json: plugin own: ${message}`);
  });
});
