/**
 * The routes of a plan: what plan and boot refuse before any plugin is set up, and that setup returns exactly one
 * handler for each declared route.
 */
import { describe, expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import { definePlugin, route } from "../../src/contracts/plugin.ts";
import { boot, planBus } from "../../src/kernel/boot.ts";
import type { Method } from "../../src/wire/route.ts";
import { answering, nameAuth, optionsOf, refusalOf } from "./bus.ts";

const none = Type.Object({}, { additionalProperties: false });
const silent = async () => undefined;
const open = route({ method: "GET", path: "/open", access: "public", summary: "Says nothing." }, silent);
const closed = route({ method: "GET", path: "/closed", access: "signed", summary: "Says nothing." }, silent);

/** A plugin that records that it was set up and released. */
const noting = (events: string[]) =>
  definePlugin({
    ...{ name: "first", api: 1 as const, config: none },
    async setup({ onStop }) {
      events.push("setup");
      onStop(() => events.push("stop"));
      return { services: {} };
    },
  });

describe("routes that cannot be served together are refused by plan and by boot, before anything is set up:", () => {
  const other = (path: `/${string}`, method: Method = "GET") =>
    route({ method, path, access: "public", summary: "Says nothing." }, async () => undefined);
  const cases: readonly (readonly [string, { readonly name: string }[], string])[] = [
    [
      "a signed route where no plugin provides auth",
      [answering("a", closed)],
      'test.json: plugin a: route GET /closed: access is signed, but no plugin provides auth (add { "use": "auth" })',
    ],
    [
      "a route of two plugins",
      [answering("a", open), answering("b", open)],
      "test.json: plugins a and b both declare the route GET /open (remove one of them)",
    ],
    [
      "a route of the bus itself",
      [answering("a", other("/healthz"))],
      "test.json: plugins bus and a both declare the route GET /healthz (remove one of them)",
    ],
    [
      "a route that a plugin declares twice",
      [answering("a", open, other("/open"))],
      "test.json: plugin a declares the route GET /open twice (remove one of them)",
    ],
    [
      "a parameter with two names",
      [answering("a", other("/x/:id/y/:n"), other("/x/:id/z/:m")), answering("b", other("/x/:id/y/:m/z", "PUT"))],
      "test.json: plugin b: route PUT /x/:id/y/:m/z: the parameter :m is named :n in another route (name it :n)",
    ],
    [
      "a declaration that is wrong in itself",
      [
        answering(
          "a",
          route({ ...open.spec, access: "Public" as never }, async () => undefined),
        ),
      ],
      'test.json: plugin a: route GET /open: access is "Public" (wanted: one of public, signed, admin)',
    ],
  ];
  test.each(cases)("%s", async (_, plugins, message) => {
    const events: string[] = [];
    const options = optionsOf([noting(events), ...plugins]);
    expect((await refusalOf(() => planBus(options))).message).toBe(message);
    expect((await refusalOf(() => boot(options))).message).toBe(message);
    expect(events).toEqual([]);
  });
});

describe("what setup returns is refused, and everything released:", () => {
  const unbound = definePlugin({
    ...{ name: "unbound", api: 1 as const, config: none, routes: [open.spec, closed.spec] },
    setup: async () => ({ services: {}, routes: [open] }),
  });
  const undeclared = definePlugin({
    ...{ name: "undeclared", api: 1 as const, config: none, routes: [open.spec] },
    setup: async () => ({ services: {}, routes: [open, route({ ...open.spec }, async () => undefined)] }),
  });
  const upgrading = definePlugin({
    ...{ name: "upgrading", api: 1 as const, config: none },
    setup: async () => {
      const accept = () => ({ open: () => ({ message() {}, drained() {}, closed() {} }), abandoned() {} });
      return { services: {}, sockets: [{ path: "/open" as const, origins: [], accept }] };
    },
  });
  const twice = definePlugin({
    ...{ name: "twice", api: 1 as const, config: none, routes: [open.spec] },
    setup: async () => ({ services: {}, routes: [open, open] }),
  });
  const cases: readonly (readonly [string, { readonly name: string }[], string])[] = [
    [
      "a WebSocket on the path of a route",
      [answering("a", open), upgrading],
      "test.json: plugins a and upgrading both declare the route GET /open (remove one of them)",
    ],
    [
      "a declared route without a handler",
      [nameAuth().plugin, unbound],
      "test.json: plugin unbound: setup returned no handler of GET /closed (return route(spec, handler) once)",
    ],
    [
      "a handler of a route that looks like a declared one",
      [undeclared],
      "test.json: plugin undeclared: setup returned a handler of GET /open, which the plugin does not declare (add the",
    ],
    [
      "two handlers of a route",
      [twice],
      "test.json: plugin twice: setup returned more than one handler of GET /open (return route(spec, handler) once)",
    ],
  ];
  test.each(cases)("%s", async (_, plugins, message) => {
    const events: string[] = [];
    const refused = await refusalOf(() => boot(optionsOf([noting(events), ...plugins])));
    expect(refused.message).toStartWith(message);
    expect(events).toEqual(["setup", "stop"]);
  });
});
