/**
 * Plugins in the executable: the example configuration, plugin files that are refused, pins, plugins added with
 * `--plugin`, and `unibus plan`.
 */
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { parseJoinLink } from "../../src/client/join-link.ts";
import { register } from "../../src/client/register.ts";
import { Folder, Server, unibus } from "../support/executable.ts";
import { createRoom, dial, history, policy, send } from "../support/peer.ts";
import { refusal } from "./refusal.ts";

const root = resolve(import.meta.dir, "../..");
const example = join(root, "examples/plugins.json");

interface Rows {
  readonly extends?: string;
  readonly flags: Readonly<Record<string, boolean>>;
  readonly plugins: readonly { readonly use: string; readonly when?: string; readonly unless?: string }[];
}
const rowsOf = (file: string): Rows => JSON.parse(readFileSync(file, "utf8")) as Rows;

/** The built-in configuration, and the plugins that it uses while all flags are off. */
const builtIn = rowsOf(join(root, "plugins.json"));
const usesInForce = builtIn.plugins.filter(({ when }) => when === undefined).map(({ use }) => use);

/** Writes a plugin and a manifest with it and the data plane into a folder; returns the options for them. */
function planted(folder: Folder, source: string, row: object = {}, others: readonly object[] = []): string[] {
  writeFileSync(folder.file("own.ts"), source);
  const plugins = [{ use: "nats-embedded" }, { use: "./own.ts", ...row }, ...others];
  writeFileSync(folder.file("own.json"), JSON.stringify({ plugins }));
  return ["--plugins", "own.json"];
}
const plugin = (rest: string, head = ""): string =>
  `import { definePlugin, defineRoute, rawReply, route, token, Type, UnibusError } from "unibus/plugin";
   ${head}
   const own = defineRoute({ method: "GET", path: "/own", access: "public", summary: "Answers." });
   export default definePlugin({ name: "own", api: 1, config: Type.Object({}, { additionalProperties: false }), ${rest} });`;
const answers = (expression: string): string =>
  `routes: [own], setup: async () => ({ services: {}, routes: [
     route(own, async () => rawReply(JSON.stringify(${expression}))),
   ] })`;

describe("the example configuration", () => {
  test("is the built-in one, with a flag that changes the store, and a route", () => {
    expect(rowsOf(example)).toEqual({
      extends: "builtin",
      flags: { ephemeral: false },
      plugins: [
        { use: "store-sqlite", unless: "ephemeral" },
        { use: "./plugins/store-memory.ts", when: "ephemeral" },
        { use: "./plugins/echo.ts" },
      ],
    });
  });

  test("keeps everything in memory with the flag on: rooms, users, and nothing after a restart", async () => {
    using folder = new Folder();
    const args = ["--plugins", example, "--flag", "ephemeral=on"];
    const admin = await generateIdentity();
    const health = async (server: Server) => (await send(`${server.ready.http}/healthz`)).json;
    {
      await using server = await Server.start({ folder, args });
      expect(await health(server)).toMatchObject({ posture: { store: "memory" }, flags: { ephemeral: true } });
      expect((await send(`${server.ready.http}/readyz`)).json).toMatchObject({
        plugins: { "store-memory": { ok: true } },
      });
      expect(await send(`${server.ready.http}/echo/hello`)).toMatchObject({ status: 200, json: { echo: "hello" } });
      await register(parseJoinLink(readFileSync(join(server.data, "admin-link"), "utf8")), admin);
      const room = await createRoom(server, admin, policy("persist"));
      const peer = await dial(server, admin);
      peer.publish(room.state.subject, "hello");
      await peer.flush();
      expect((await history(server, admin, room)).map(String)).toEqual(["hello"]);
      await peer.close();
      expect(existsSync(join(server.data, "unibus.db"))).toBe(false);
    }
    await using forgetful = await Server.start({ folder, args });
    await register(parseJoinLink(readFileSync(join(forgetful.data, "admin-link"), "utf8")), admin);
  }, 60_000);

  test("uses SQLite with the flag off, as the file says", async () => {
    await using server = await Server.start({ args: ["--plugins", example] });
    const health = (await send(`${server.ready.http}/healthz`)).json;
    expect(health).toMatchObject({ posture: { store: "sqlite" }, flags: { ephemeral: false } });
    expect(await send(`${server.ready.http}/echo/hello`)).toMatchObject({ status: 200, json: { echo: "hello" } });
  }, 30_000);
});

describe("a plugin file that cannot be loaded is refused, with the file, the plugin and the fix:", () => {
  const fine = plugin("setup: async () => ({ services: {} })");
  const sum = createHash("sha256").update(fine).digest("hex");
  const cyclic = plugin(
    'provides: { a: token("a") }, requires: { b: token("b") }, setup: async () => ({ services: {} })',
  );
  const other = cyclic
    .replace('"own"', '"other"')
    .replace('token("a")', 'token("b")')
    .replace('b: token("b")', 'b: token("a")');
  const cases: readonly (readonly [string, string, object, readonly object[], string])[] = [
    [
      "another sha256",
      fine,
      { sha256: "0".repeat(64) },
      [],
      `plugin ./own.ts has sha256 ${sum}, expected 000000000000`,
    ],
    [
      "no plugin definition",
      "export const a = 1;",
      {},
      [],
      "plugin ./own.ts: does not export a plugin (export default define",
    ],
    [
      "another plugin API",
      fine.replace("api: 1", "api: 2"),
      {},
      [],
      "plugin ./own.ts: targets plugin API 2 (this version su",
    ],
    ["a syntax error", "export default {", {}, [], "plugin ./own.ts failed to load: "],
    ["a missing module", 'import "./gone.ts";', {}, [], "plugin ./own.ts failed to load: "],
    ["an unknown key", fine, { config: { speed: 1 } }, [], "plugin own: unknown key speed (remove it)"],
    ["an unknown key in its row", fine, { only: 1 }, [], "plugin ./own.ts: unknown key only (known keys: use, when, "],
    ["a duplicate plugin", fine, {}, [{ use: "./own.ts" }], "plugin own is listed twice (remove one of the rows)"],
    [
      "two providers",
      plugin('provides: { users: token("user-store") }, setup: async () => ({ services: {} })'),
      {},
      [{ use: "store-sqlite" }],
      "plugins own and store-sqlite both provide user-store (choose one with a flag)",
    ],
    ["a cycle", cyclic, {}, [{ use: "./other.ts" }], "circular plugin dependency: own -> other -> own (move"],
    [
      "a token without a provider",
      plugin('requires: { a: token("acme.a") }, setup: async () => ({ services: {} })'),
      {},
      [],
      "plugin own needs acme.a, which no plugin provides (add a plugin that provides it)",
    ],
    ["a missing file", fine, {}, [{ use: "./gone.ts" }], "plugin ./gone.ts: no file at "],
    [
      "a route without auth",
      plugin('routes: [{ ...own, access: "signed" }], setup: async () => ({ services: {} })'),
      {},
      [],
      'plugin own: route GET /own: access is signed, but no plugin provides auth (add { "use": "auth" })',
    ],
    ["a setup that throws", plugin('setup: async () => { throw new Error("no luck") }'), {}, [], ""],
  ];
  test.each(cases)("%s", async (name, source, row, others, message) => {
    using folder = new Folder();
    writeFileSync(folder.file("other.ts"), other);
    const line = await refusal(folder, planted(folder, source, row, others));
    if (name === "a setup that throws") {
      expect(line).toBe("error: plugin own failed in setup: no luck (see its log)");
    } else {
      expect(line).toMatch(/^error: [^:]*own\.json[:,] /);
      expect(line).toContain(message);
    }
  });

  test("a missing pin when pins are required", async () => {
    using folder = new Folder();
    planted(folder, fine);
    const manifest = { require_pins: true, plugins: [{ use: "nats-embedded" }, { use: "./own.ts" }] };
    writeFileSync(folder.file("own.json"), JSON.stringify(manifest));
    const line = await refusal(folder, ["--plugins", "own.json"]);
    expect(line).toEndWith(`plugin ./own.ts has no sha256, but require_pins is set (add "sha256": "${sum}")`);
  });
});

describe("a bundled plugin in the executable", () => {
  const own = async (server: Server) => (await send(`${server.ready.http}/own`)).json;

  test("is one file with its packages, pinned by its sha256", async () => {
    using folder = new Folder();
    const source = plugin(answers("decodeTime(ulid(1_000))"), 'import { decodeTime, ulid } from "ulid";');
    mkdirSync(folder.file("source", "node_modules"), { recursive: true });
    cpSync(join(root, "node_modules/ulid"), folder.file("source", "node_modules", "ulid"), { recursive: true });
    writeFileSync(folder.file("source", "own.ts"), source);
    const flags = ["--target", "bun", "--external", "unibus/plugin", "--outfile", folder.file("own.ts")];
    const built = Bun.spawnSync([process.execPath, "build", folder.file("source", "own.ts"), ...flags]);
    expect(built.stderr.toString()).toBe("");
    const bundle = readFileSync(folder.file("own.ts"), "utf8");
    const sha256 = createHash("sha256").update(bundle).digest("hex");
    await using server = await Server.start({ folder, args: planted(folder, bundle, { sha256 }) });
    expect(await own(server)).toEqual(1_000 as never);
  }, 30_000);

  test("shares unibus's TypeBox, even with another copy beside it", async () => {
    using folder = new Folder();
    const copy = folder.file("node_modules", "@sinclair", "typebox");
    mkdirSync(dirname(copy), { recursive: true });
    cpSync(join(root, "node_modules/@sinclair/typebox"), copy, { recursive: true });
    const head = `import * as theirs from "@sinclair/typebox"; import { Value } from "@sinclair/typebox/value";`;
    const source = plugin(answers("[theirs.Type === Type, Value.Check(Type.Literal(1), 1)]"), head);
    await using server = await Server.start({ folder, args: planted(folder, source) });
    expect(await own(server)).toEqual([true, true] as never);
  }, 30_000);

  test("can have several files, and its own errors, which are recognized by their code", async () => {
    using folder = new Folder();
    writeFileSync(folder.file("part.ts"), "export const part: string = 'of another file';");
    const throws = '(() => { throw new UnibusError("gone", part); })()';
    const source = plugin(answers(throws), 'import { part } from "./part.ts";');
    await using server = await Server.start({ folder, args: planted(folder, source) });
    const body = { error: "of another file", code: "gone" };
    expect(await send(`${server.ready.http}/own`)).toMatchObject({ status: 410, json: body });
  }, 30_000);
});

test("a plugin added on the command line serves beside the built-in ones, and host commands remember it", async () => {
  using folder = new Folder();
  const file = folder.file("own.ts");
  writeFileSync(file, plugin(answers("{ from: 'own' }")));
  await using server = await Server.start({ folder, args: ["--plugin", "own.ts"] });
  expect((await send(`${server.ready.http}/own`)).json).toEqual({ from: "own" });
  expect((await send(`${server.ready.http}/healthz`)).json).toMatchObject({ posture: { auth: "enforce" } });
  expect(JSON.parse(readFileSync(join(server.data, "served.json"), "utf8"))).toMatchObject({ added: [file] });
  const list = ["user", "list", "--data", "data"];
  expect((await unibus(folder, list)).code).toBe(0);
  await server.end();
  rmSync(file);
  const what = `${file}, with which data was last served, does not exist`;
  expect(await unibus(folder, list)).toMatchObject({
    code: 1,
    stderr: `error: ${what} (put it back, or name the files with --plugins and --plugin)\n`,
  });
}, 60_000);

describe("plan", () => {
  test("prints the flags, and the plugins in their order of setup, and sets up none", async () => {
    using folder = new Folder();
    const args = ["plan", "--data", "data", "--plugins", example];
    const off = await unibus(folder, args);
    expect([off.code, off.stderr]).toEqual([0, ""]);
    expect(off.stdout).toContain("flag ephemeral is off\n");
    expect(off.stdout).toMatch(/\n *\d+ +store-sqlite +gives room-store, user-store, /);
    expect(off.stdout).toMatch(/\n *\d+ +echo +gives 1 route\n/);
    const on = await unibus(folder, [...args, "--flag", "ephemeral=on"]);
    expect(on.stdout).toContain("flag ephemeral is on\n");
    expect(on.stdout).toMatch(/store-memory +gives room-store/);
    expect(on.stdout).not.toContain("store-sqlite");
    expect(existsSync(folder.file("data"))).toBe(false);
  });

  test("with --plugin, or a file that extends the built-in one, includes every built-in plugin", async () => {
    using folder = new Folder();
    writeFileSync(folder.file("own.ts"), plugin("setup: async () => ({ services: {} })"));
    const extending = { extends: "builtin", plugins: [{ use: "./own.ts" }] };
    writeFileSync(folder.file("own.json"), JSON.stringify(extending));
    const all = [...usesInForce, "./own.ts"].map((use) => use.replace("./own.ts", "own")).sort();
    const planned = async (args: readonly string[], env: Record<string, string> = {}) => {
      const done = await unibus(folder, ["plan", "--data", "data", "--json", ...args], { env });
      expect([done.code, done.stderr]).toEqual([0, ""]);
      return (JSON.parse(done.stdout) as { plugins: { name: string }[] }).plugins.map(({ name }) => name).sort();
    };
    expect(await planned(["--plugins", "own.json"])).toEqual(all);
    expect(await planned(["--plugin", "own.ts"])).toEqual(all);
    expect(await planned([], { UNIBUS_PLUGIN: "own.ts" })).toEqual(all);
    // A file that is named twice is loaded once.
    expect(await planned(["--plugin", "own.ts", "--plugin", "./own.ts"], { UNIBUS_PLUGIN: "own.ts" })).toEqual(all);
    const gone = await unibus(folder, ["plan", "--data", "data", "--plugin", "gone.ts"]);
    expect([gone.code, gone.stderr]).toEqual([1, expect.stringContaining(`no file at ${folder.file("gone.ts")} (`)]);
  });

  test("prints JSON: each plugin after all that it needs", async () => {
    using folder = new Folder();
    const done = await unibus(folder, ["plan", "--data", "data", "--json"]);
    const { flags, plugins } = JSON.parse(done.stdout) as {
      flags: unknown;
      plugins: {
        name: string;
        use: string;
        provides: string[];
        requires: string[];
        optional: string[];
        routes: string[];
      }[];
    };
    expect(flags).toEqual(builtIn.flags);
    expect(Object.values(builtIn.flags)).not.toContain(true);
    expect(plugins.map(({ use }) => use).sort()).toEqual([...usesInForce].sort());
    expect(plugins.find(({ name }) => name === "history")?.routes).toEqual([
      "GET /rooms/:id/history",
      "DELETE /rooms/:id/messages/:seq",
    ]);
    const given = new Set<string>();
    for (const one of plugins) {
      expect([one.name, one.requires.filter((id) => !given.has(id))]).toEqual([one.name, []]);
      for (const id of one.provides) given.add(id);
    }
  });

  test("refuses what serve would refuse: a flag, and routes", async () => {
    using folder = new Folder();
    const planned = async (declared: string) => {
      writeFileSync(folder.file("own.ts"), plugin(`routes: [${declared}], setup: async () => ({ services: {} })`));
      return unibus(folder, ["plan", "--data", "data", "--plugin", "own.ts"]);
    };
    for (const [declared, what] of [
      ["{ ...own, access: 'sined' }", 'route GET /own: access is "sined" (wanted: one of public, signed, admin)'],
      ["{ ...own, path: '/rooms/:room/own' }", "route GET /rooms/:room/own: the parameter :room is named :id in anoth"],
      ["{ ...own, path: '/directory' }", "both declare the route GET /directory (remove one of them)"],
    ] as const) {
      const { code, stdout, stderr } = await planned(declared);
      expect([code, stdout, stderr]).toEqual([1, "", expect.stringContaining(what)]);
    }
    expect((await planned("own")).code).toBe(0);
    const done = await unibus(folder, ["plan", "--data", "data", "--flag", "big=on"]);
    expect([done.code, done.stdout]).toEqual([1, ""]);
    const known = Object.keys(builtIn.flags).join(", ");
    expect(done.stderr).toBe(`error: --flag: unknown flag big (flags of built-in plugins.json: ${known})\n`);
  });
});
