/** The boot plan: which plugins the flags select, and the order in which their dependencies allow their setup. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type Plugin, type Tokens, token } from "../../src/contracts/plugin.ts";
import { type Chosen, closure, flagsInForce, inOrder, rowsInForce } from "../../src/kernel/plan.ts";
import { providing, refusalOf } from "./bus.ts";

const tokens = (...ids: string[]): Tokens => Object.fromEntries(ids.map((id) => [id, token(id)]));
const file = "plugins.json";

/** A plugin with the tokens that it provides, needs and optionally uses. */
function one(name: string, gives: string[], needs: string[] = [], likes: string[] = []): Chosen {
  const plugin = providing(name, {
    provides: tokens(...gives),
    requires: tokens(...needs),
    optional: tokens(...likes),
  });
  return { row: { use: name }, plugin: plugin as unknown as Plugin };
}
const names = (chosen: readonly Chosen[]): string[] => chosen.map(({ plugin }) => plugin.name);

describe("flags", () => {
  const manifest = {
    flags: { big: false, odd: true },
    plugins: [
      { use: "a", when: "big" },
      { use: "b", unless: "odd" },
    ],
  };
  const none = { flags: {}, settings: {} };

  test("are those of the manifest, changed by --flag", () => {
    expect(flagsInForce(manifest, none, file)).toEqual({ big: false, odd: true });
    expect(flagsInForce(manifest, { flags: { big: true }, settings: {} }, file)).toEqual({ big: true, odd: true });
  });

  test.each(["huge", "constructor"])("that the manifest does not declare are refused: --flag %s=on", async (flag) => {
    const { message } = await refusalOf(() => flagsInForce(manifest, { flags: { [flag]: true }, settings: {} }, file));
    expect(message).toBe(`--flag: unknown flag ${flag} (flags of plugins.json: big, odd)`);
  });

  test("are refused with a clear message if the manifest declares none", async () => {
    const { message } = await refusalOf(() =>
      flagsInForce({ plugins: [] }, { flags: { big: true }, settings: {} }, file),
    );
    expect(message).toBe("--flag: unknown flag big (declare it in plugins.json)");
  });

  test.each(["when", "unless"])("that a row names under `%s` must be declared", async (key) => {
    const { message } = await refusalOf(() => flagsInForce({ plugins: [{ use: "a", [key]: "huge" }] }, none, file));
    expect(message).toBe('plugins.json: plugin a uses the unknown flag huge (declare it under "flags")');
  });

  test("select rows, which keep their order in the manifest", () => {
    const rows = [
      { use: "a", when: "x" },
      { use: "b", unless: "x" },
      { use: "c" },
      { use: "d", when: "x", unless: "y" },
    ];
    const kept = (flags: Record<string, boolean>) => rowsInForce({ plugins: rows }, flags).map(({ use }) => use);
    expect(kept({ x: true, y: false })).toEqual(["a", "c", "d"]);
    expect(kept({ x: false, y: false })).toEqual(["b", "c"]);
    expect(kept({ x: true, y: true })).toEqual(["a", "c"]);
  });
});

describe("the order of plugins", () => {
  test("puts each plugin after the ones it uses, and otherwise keeps the manifest's order", () => {
    const chosen = [one("web", [], ["rooms"]), one("x", []), one("rooms", ["rooms"], ["store"], ["log"])];
    const rest = [one("y", []), one("store", ["store"]), one("log", ["log"])];
    expect(names(inOrder([...chosen, ...rest], file))).toEqual(["store", "log", "rooms", "web", "x", "y"]);
  });

  test("allows an optional token without a provider", () => {
    expect(names(inOrder([one("a", [], [], ["nothing"])], file))).toEqual(["a"]);
  });

  const refused: readonly (readonly [string, readonly Chosen[], string])[] = [
    [
      "two providers of a token",
      [one("a", ["store"]), one("b", ["log", "store"])],
      "plugins.json: plugins a and b both provide store (choose one with a flag)",
    ],
    [
      "a plugin that is listed twice",
      [one("a", []), one("a", [])],
      "plugins.json: plugin a is listed twice (remove one of the rows)",
    ],
    [
      "a token without a provider",
      [one("a", [], ["store"])],
      "plugins.json: plugin a needs store, which no plugin provides (add a plugin that provides it)",
    ],
    [
      "a cycle, with exactly its path",
      [one("z", [], ["a"]), one("a", ["a"], ["b"]), one("b", ["b"], ["c"]), one("c", ["c"], [], ["a"])],
      "plugins.json: circular plugin dependency: a -> b -> c -> a (move a service to a plugin of its own)",
    ],
    [
      "a plugin that needs itself",
      [one("a", ["a"], ["a"])],
      "plugins.json: circular plugin dependency: a -> a (move a service to a plugin of its own)",
    ],
  ];
  test.each(refused)("is refused for %s", async (_, chosen, message) => {
    expect((await refusalOf(() => inOrder(chosen, file))).message).toBe(message);
  });

  test("is valid for any acyclic plugins, in any order of the manifest", () => {
    // Plugin i provides token i and may need only tokens with lower numbers, so there is no cycle.
    const graph = fc.array(fc.array(fc.nat()), { minLength: 1, maxLength: 12 }).chain((needs) => {
      const all = needs.map((own, i) =>
        one(`p${i}`, [`t${i}`], i === 0 ? [] : [...new Set(own.map((n) => `t${n % i}`))]),
      );
      return fc.shuffledSubarray(all, { minLength: all.length });
    });
    fc.assert(
      fc.property(graph, (chosen) => {
        const ordered = inOrder(chosen, file);
        expect(names(ordered).sort()).toEqual(names(chosen).sort());
        const given = new Set<string>();
        for (const { plugin } of ordered) {
          for (const { id } of Object.values(plugin.requires ?? {})) expect(given.has(id)).toBe(true);
          for (const { id } of Object.values(plugin.provides ?? {})) given.add(id);
        }
      }),
    );
  });
});

test("a closure contains exactly the plugins that some tokens need, directly or not", () => {
  const ordered = [one("log", ["log"]), one("store", ["store"], ["log"]), one("nats", ["nats"])];
  const rest = [one("users", ["users"], ["store"], ["nats"]), one("web", [], ["users"])];
  const kept = (id: string) => names(closure([...ordered, ...rest], [token(id)]));
  expect(kept("users")).toEqual(["log", "store", "users"]);
  expect(kept("nats")).toEqual(["nats"]);
  expect(kept("nobody")).toEqual([]);
});
