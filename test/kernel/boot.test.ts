/**
 * Booting a bus from plugins: the order of setup, start and release, timeouts, failures in each phase, and shutdown.
 * Runs the kernel in this process, with plugins that record what happens to them.
 */
import { describe, expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import { definePlugin, route, token } from "../../src/contracts/plugin.ts";
import { type BootOptions, boot, bootServices, planBus } from "../../src/kernel/boot.ts";
import { hasCode } from "../../src/wire/errors.ts";
import { answering, type Changes, Files, nameAuth, optionsOf, providing, recorder, refusalOf, serving } from "./bus.ts";

const none = Type.Object({}, { additionalProperties: false });
const word = token<string>("acme.word");
const closed = route(
  { method: "GET", path: "/closed", access: "signed", summary: "Says nothing." },
  async () => undefined,
);

/** A plugin that records its lifecycle in `events`. */
function noting(
  events: string[],
  name: string,
  acts: { setup?: () => unknown; start?: () => unknown; stop?: () => unknown },
) {
  return definePlugin({
    name,
    api: 1,
    config: none,
    async setup({ onStop, signal }) {
      events.push(`setup ${name}`);
      onStop(() => {
        events.push(`stop ${name}${signal.aborted ? "" : ", not aborted"}`);
        return acts.stop?.();
      });
      await acts.setup?.();
      return {
        services: {},
        async start() {
          events.push(`start ${name}`);
          await acts.start?.();
        },
      };
    },
  });
}

describe("boot fails before any setup, and names the file, the plugin and the fix, for", () => {
  const cases: readonly (readonly [string, Changes, string])[] = [
    ["an unknown flag", { overrides: { flags: { big: true } } }, "--flag: unknown flag big (declare it in test.json)"],
    [
      "an unknown plugin",
      { rows: [{ use: "first" }, { use: "nope" }] },
      "test.json: unknown plugin nope (choose one of ",
    ],
    [
      "a plugin that is listed twice",
      { rows: [{ use: "first" }, { use: "first" }] },
      "test.json: plugin first is listed twice",
    ],
    [
      "two providers of one token",
      { rows: [{ use: "first" }, { use: "word" }, { use: "other-word" }] },
      "test.json: plugins word and other-word both provide acme.word (choose one with a flag)",
    ],
    [
      "a token without a provider",
      { rows: [{ use: "first" }, { use: "reader" }] },
      "test.json: plugin reader needs acme.word, which no plugin provides (add a plugin that provides it)",
    ],
    [
      "a dependency cycle",
      { rows: [{ use: "first" }, { use: "hen" }, { use: "egg" }] },
      "test.json: circular plugin dependency: hen -> egg -> hen (move a service",
    ],
    [
      "an unknown key in a plugin's configuration",
      { rows: [{ use: "first", config: { speed: 1 } }] },
      "test.json, plugin first: unknown key speed (remove it)",
    ],
    [
      "a wrong value in a plugin's configuration",
      { rows: [{ use: "first" }, { use: "tuned", config: { speed: "fast" } }] },
      "test.json, plugin tuned: speed: expected integer (turns a second)",
    ],
    [
      "a missing setting",
      { rows: [{ use: "first" }, { use: "tuned" }] },
      "test.json, plugin tuned: speed: missing (turns a second)",
    ],
    [
      "--set for a plugin that is not in the plan",
      { rows: [{ use: "first" }], overrides: { settings: { tuned: { speed: 1 } } } },
      "--set: no active plugin tuned (choose one of http, first)",
    ],
    [
      "an unknown key in --set",
      { rows: [{ use: "first" }], overrides: { settings: { first: { speed: 1 } } } },
      "test.json, plugin first: unknown key speed (remove it)",
    ],
    [
      "an environment variable that is not set",
      { rows: [{ use: "first", config: { a: ["\u0024{env:NOT_SET}"] } }] },
      "test.json, first: \u0024{env:NOT_SET} is not set (set NOT_SET in the environment)",
    ],
    [
      "a missing listen address",
      { rows: [{ use: "first" }], http: { listen: "here" } },
      "http.listen: here is not an address (for example ",
    ],
    [
      "a public URL that is not a URL",
      { rows: [{ use: "first" }], http: { public_url: "bus" } },
      "http.public_url: bus is not an http or https URL (for example https://bus.example.org)",
    ],
  ];
  test.each(cases)("%s", async (_, changes, message) => {
    const events: string[] = [];
    const plugins = [
      noting(events, "first", {}),
      providing("word", { provides: { word } }),
      providing("other-word", { provides: { it: word } }),
      providing("reader", { requires: { word } }),
      providing("hen", { provides: { hen: token("hen") }, requires: { egg: token("egg") } }),
      providing("egg", { provides: { egg: token("egg") }, requires: { hen: token("hen") } }),
      definePlugin({
        ...{ name: "tuned", api: 1 as const },
        config: Type.Object({ speed: Type.Integer({ description: "turns a second" }) }),
        setup: async () => ({ services: {} }),
      }),
    ];
    const refused = await refusalOf(() => boot(optionsOf(plugins, changes)));
    expect(refused.message).toStartWith(message);
    expect(refused.message).toMatch(/\(.+\)$/);
    expect(events).toEqual([]);
  });
});

describe("boot fails during setup, and releases every plugin, for", () => {
  const silent = definePlugin({
    ...{ name: "silent", api: 1 as const, config: none, provides: { word } },
    setup: async () => ({ services: {} as { word: string } }),
  });
  const talkative = definePlugin({
    ...{ name: "talkative", api: 1 as const, config: none },
    setup: async () => ({ services: { extra: 1 } as Record<never, never> }),
  });
  const cases: readonly (readonly [string, { readonly name: string }[], string])[] = [
    [
      "a declared token that setup does not return",
      [silent],
      "test.json: plugin silent declares acme.word but setup did not return it (return it)",
    ],
    [
      "a service that is not declared",
      [talkative],
      "test.json: plugin talkative returns extra, which it does not declare (add it to provides)",
    ],
  ];
  test.each(cases)("%s", async (_, plugins, message) => {
    const events: string[] = [];
    const { message: actual } = await refusalOf(() => boot(optionsOf([noting(events, "first", {}), ...plugins])));
    expect(actual).toBe(message);
    expect(events).toEqual(["setup first", "stop first"]);
  });
});

const never = () => new Promise<never>(() => undefined);
const caught = async (options: BootOptions): Promise<unknown> => boot(options).catch((error: unknown) => error);

describe("a plugin that exceeds its time budget is named:", () => {
  test("one with its own setup budget", async () => {
    const slow = definePlugin({ name: "slow", api: 1, config: none, setupBudgetMs: 20, setup: never });
    const error = await caught(optionsOf([slow]));
    expect(hasCode(error, "unavailable") && error.message).toBe(
      "plugin slow took more than 20 ms in setup (see its log)",
    );
  });

  test.each(["setup", "start"] as const)("one that hangs in %s, and the others are released", async (act) => {
    const events: string[] = [];
    const plugins = [noting(events, "quick", {}), noting(events, "slow", { [act]: never })];
    const error = await caught(optionsOf(plugins, { setupBudgetMs: 20 }));
    const doing = act === "setup" ? "in setup" : "starting";
    expect(hasCode(error, "unavailable") && error.message).toBe(
      `plugin slow took more than 20 ms ${doing} (see its log)`,
    );
    expect(events.filter((event) => event.startsWith("stop"))).toEqual(["stop slow", "stop quick"]);
  });

  test("one whose file never finishes loading", async () => {
    using folder = new Files();
    const file = folder.write("endless.ts", "await new Promise(() => {}); export default {};");
    const error = await caught(optionsOf([], { rows: [{ use: file }], setupBudgetMs: 50 }));
    expect(hasCode(error, "unavailable") && error.message).toBe(
      `plugin ${file} took more than 50 ms loading (see its log)`,
    );
  });

  test("what it acquires after that is released at once", async () => {
    const events: string[] = [];
    const going = Promise.withResolvers<void>();
    const late = definePlugin({
      ...{ name: "late", api: 1 as const, config: none },
      async setup({ onStop }) {
        await going.promise;
        onStop(() => events.push("released"));
        events.push("goes on");
        return { services: {} };
      },
    });
    await caught(optionsOf([late], { setupBudgetMs: 10 }));
    going.resolve();
    await Bun.sleep(0);
    expect(events).toEqual(["released", "goes on"]);
  });
});

describe("a plugin that throws its own error is named:", () => {
  const boom = () => {
    throw new TypeError("boom");
  };
  test.each([
    ["in setup", noting([], "wild", { setup: boom }), "in setup"],
    ["in start", noting([], "wild", { start: boom }), "starting"],
    [
      "before setup returns a promise",
      definePlugin({ name: "wild", api: 1, config: none, setup: () => boom() }),
      "in setup",
    ],
  ])("%s", async (_, plugin, doing) => {
    const error = await caught(optionsOf([plugin]));
    expect(hasCode(error, "internal") && error.message).toBe(`plugin wild failed ${doing}: boom (see its log)`);
    expect(hasCode(error, "internal") && error.cause).toBeInstanceOf(TypeError);
  });
});

describe("stopping the server", () => {
  test("releases all plugins in reverse order of setup, once", async () => {
    const events: string[] = [];
    const plugins = ["a", "b", "c"].map((name) => noting(events, name, {}));
    const bus = await boot(optionsOf(plugins));
    expect(events).toEqual(["setup a", "setup b", "setup c", "start a", "start b", "start c"]);
    events.length = 0;
    await Promise.all([bus.stop(), bus.stop()]);
    await bus.stop();
    expect(events).toEqual(["stop c", "stop b", "stop a"]);
  });

  test.each(["setup", "start"] as const)("also happens when a later plugin's %s throws", async (act) => {
    const events: string[] = [];
    const boom = () => {
      throw new Error("boom");
    };
    await caught(optionsOf([noting(events, "a", {}), noting(events, "b", { [act]: boom }), noting(events, "c", {})]));
    const stops = events.filter((event) => event.startsWith("stop"));
    expect(stops).toEqual(act === "setup" ? ["stop b", "stop a"] : ["stop c", "stop b", "stop a"]);
  });

  test("continues when a release fails, and logs the failure", async () => {
    const events: string[] = [];
    const { lines, log } = recorder();
    const fail = () => {
      throw new Error("stuck");
    };
    const plugins = [noting(events, "a", {}), noting(events, "b", { stop: fail }), noting(events, "c", {})];
    const rejecting = noting(events, "d", { stop: () => Promise.reject(new Error("later")) });
    await (await boot(optionsOf([...plugins, rejecting], { log }))).stop();
    expect(events.slice(-4)).toEqual(["stop d", "stop c", "stop b", "stop a"]);
    const errors = lines.filter(({ level }) => level === "error").map(({ message }) => message);
    expect(errors).toEqual(["d did not stop cleanly", "b did not stop cleanly"]);
  });

  test("refuses new requests, finishes those in flight, and only then releases plugins", async () => {
    const events: string[] = [];
    const entered = Promise.withResolvers<void>();
    const leave = Promise.withResolvers<void>();
    const slow = route(
      { method: "GET", path: "/slow", access: "public", summary: "Waits.", reply: Type.String() },
      async () => {
        entered.resolve();
        await leave.promise;
        return events.join();
      },
    );
    const bus = await boot(optionsOf([noting(events, "a", {}), answering("slow", slow)]));
    const url = `http://127.0.0.1:${bus.site.listener.port()}`;
    const inFlight = fetch(`${url}/slow`);
    await entered.promise;
    const stopped = bus.stop();
    const late = await fetch(`${url}/healthz`);
    expect([late.status, await late.json()]).toEqual([
      503,
      { error: "the server is stopping (try another node, or try again)", code: "unavailable" },
    ]);
    leave.resolve();
    expect(await (await inFlight).json()).toBe("setup a,start a");
    await stopped;
    expect(events.at(-1)).toBe("stop a");
    expect(await fetch(url).catch(() => "no one")).toBe("no one");
  });
});

describe("a plugin receives", () => {
  test("its configuration from row, --set and environment, its services by token, and nothing else", async () => {
    const seen: unknown[] = [];
    const reader = definePlugin({
      name: "reader",
      api: 1,
      config: Type.Object({ a: Type.String(), b: Type.Integer(), c: Type.Array(Type.String()) }),
      requires: { spoken: word },
      optional: { missing: token<string>("acme.missing") },
      async setup({ config, site, now }, use) {
        seen.push(config, use, site.flags, now());
        return { services: {} };
      },
    });
    const rows = [
      { use: "reader", config: { a: "\u0024{env:A}", b: 1, c: ["x"] } },
      { use: "word", when: "big" },
    ];
    await using _ = await serving([reader, providing("word", { provides: { word } })], {
      rows,
      flags: { big: false },
      overrides: { flags: { big: true }, settings: { reader: { b: 2 } } },
      environment: { A: "from outside" },
      now: () => 1_000,
    });
    expect(seen).toEqual([{ a: "from outside", b: 2, c: ["x"] }, { spoken: "word" }, { big: true }, 1_000]);
  });
});

test("planning sets up no plugin, and loads none whose flag is off", async () => {
  const events: string[] = [];
  const options = optionsOf([noting(events, "a", {})], {
    rows: [{ use: "a" }, { use: "b", when: "big" }],
    flags: { big: false },
  });
  const load = async () => {
    throw new Error("it was loaded");
  };
  const plan = await planBus({ ...options, builtins: { ...options.builtins, b: load } });
  expect(plan.plugins.map(({ plugin }) => plugin.name)).toEqual(["a"]);
  expect(events).toEqual([]);
});

test("setting up services alone starts nothing and listens nowhere", async () => {
  const events: string[] = [];
  const note = (name: string) => () => void events.push(name);
  const plugins = [
    providing("store", { provides: { store: token("store") } }, note("store")),
    providing("word", { provides: { word }, requires: { store: token("store") } }, note("word")),
    noting(events, "web", {}),
  ];
  const bus = await bootServices(optionsOf(plugins), [word]);
  expect(events).toEqual(["store", "word"]);
  expect([bus.service<string>(word), bus.service(token("web")), bus.site.listener.port()]).toEqual([
    "word",
    undefined,
    0,
  ]);
  await bus.stop();
});

test("signed routes are served when a plugin provides auth under the token's id", async () => {
  await using bus = await serving([nameAuth().plugin, answering("rooms", closed)]);
  expect((await fetch(`${bus.url}/closed`)).status).toBe(401);
  expect((await fetch(`${bus.url}/closed`, { headers: { "x-caller": "ana" } })).status).toBe(204);
});
