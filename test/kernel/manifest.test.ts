/**
 * Parsing of the plugins file: each mistake is refused with its key and a fix. Also `${env:NAME}` references and
 * `extends`.
 */
import { describe, expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import fc from "fast-check";
import { checked, extended, type Manifest, parseManifest, withEnvironment } from "../../src/kernel/manifest.ts";
import { refusalOf } from "./bus.ts";

const file = "plugins.json";
const reference = (name: string): string => `\${env:${name}}`;
const errorFor = async (manifest: unknown): Promise<string> =>
  (await refusalOf(() => parseManifest(JSON.stringify(manifest), file))).message;

describe("a manifest is refused, with the file, the key and the fix, for", () => {
  test("invalid JSON", async () => {
    const { message } = await refusalOf(() => parseManifest("{", file));
    expect(message).toMatch(/^plugins\.json: not JSON: .+ \(correct the JSON\)$/);
  });

  const cases: readonly (readonly [string, unknown, string])[] = [
    ["a list", [], "plugins.json: the whole value: expected object (correct it)"],
    ["null", null, "plugins.json: the whole value: expected object (correct it)"],
    ["no plugins", {}, "plugins.json: plugins: missing (add it)"],
    [
      "an unknown base to extend",
      { extends: "./base.json", plugins: [] },
      `plugins.json: extends: expected 'builtin' ("builtin": add this file to the built-in plugins and flags)`,
    ],
    [
      "an unknown key",
      { plugins: [], flag: {} },
      "plugins.json: unknown key flag (known keys: extends, flags, require_pins, http, plugins)",
    ],
    [
      "an unknown key of http",
      { plugins: [], http: { port: 1 } },
      "plugins.json: unknown key http.port (known keys: listen, public_url, hosts, cors_origins, trusted_proxies, " +
        "allow_cleartext, tls_cert, tls_key, access_log, keepalive_s, rate, user_share)",
    ],
    [
      "an unknown key of a plugin's row",
      { plugins: [{ use: "auth" }, { use: "rooms", only: "x" }] },
      "plugins.json, plugin rooms: unknown key only (known keys: use, when, unless, sha256, config)",
    ],
    [
      "a row without use",
      { plugins: [{ use: "auth" }, { when: "x" }] },
      "plugins.json, plugin without use: use: missing (name of a built-in plugin, or path of a plugin file)",
    ],
    [
      "a row that is a string",
      { plugins: ["auth"] },
      "plugins.json, plugin without use: the whole value: expected object",
    ],
    ["a flag that is a string", { plugins: [], flags: { a: "on" } }, "plugins.json: flags.a: expected boolean"],
    ["a flag name in capitals", { plugins: [], flags: { Big: true } }, "plugins.json: unknown key flags.Big"],
    [
      "a pin that is not a sha256",
      { plugins: [{ use: "./a.ts", sha256: "AB" }] },
      "plugins.json, plugin ./a.ts: sha256: expected string to match '^[0-9a-f]{64}$' (SHA-256 of the plugin file, in hex)",
    ],
    [
      "a rate of zero",
      { plugins: [], http: { rate: 0 } },
      "plugins.json: http.rate: expected number to be greater than 0 (requests per second for each client)",
    ],
    [
      "too many plugins",
      { plugins: Array.from({ length: 257 }, () => ({ use: "auth" })) },
      "plugins.json: plugins: expected array length to be less or equal to 256",
    ],
  ];
  test.each(cases)("%s", async (_, manifest, message) => {
    expect(await errorFor(manifest)).toStartWith(message);
  });
});

test("a valid manifest is returned unchanged", () => {
  const manifest = {
    flags: { big: false },
    require_pins: true,
    http: { listen: "127.0.0.1:1" },
    plugins: [{ use: "./a.ts", when: "big", unless: "big", sha256: "0".repeat(64), config: { a: { b: [1] } } }],
  };
  expect(parseManifest(JSON.stringify(manifest), file)).toEqual(manifest);
});

test("the error for an unknown plugin setting lists the plugin's keys, or says to remove the setting", async () => {
  const deep = Type.Object({ in: Type.Object({ a: Type.Optional(Type.String()) }, { additionalProperties: false }) });
  const wrong = await refusalOf(() => checked(deep, { in: { b: 1 } }, "here"));
  expect(wrong.message).toBe("here: unknown key in.b (known keys: a)");
  const empty = Type.Object({}, { additionalProperties: false });
  expect((await refusalOf(() => checked(empty, { b: 1 }, "here"))).message).toBe("here: unknown key b (remove it)");
});

describe("a reference to an environment variable", () => {
  test("is replaced in every string, at any depth, at each occurrence", () => {
    const [a, b] = [reference("A"), reference("B_2")];
    const value = { a, b: [`x${a}y${b}`, { c: b }], d: 4, e: null, f: true };
    const seen = withEnvironment(value, { A: "one", B_2: "" }, "here");
    expect(seen).toEqual({ a: "one", b: ["xoney", { c: "" }], d: 4, e: null, f: true });
  });

  test("is not expanded again inside the value of a variable", () => {
    const environment = { A: reference("B"), B: "no" };
    expect(withEnvironment(reference("A"), environment, "here")).toBe(reference("B"));
  });

  test.each(["NOT_SET", "toString", "constructor", "__proto__"])("that is not set is refused: %s", async (name) => {
    const { message } = await refusalOf(() => withEnvironment({ a: reference(name) }, {}, "f, plugin p"));
    expect(message).toBe(`f, plugin p: ${reference(name)} is not set (set ${name} in the environment)`);
  });

  test("leaves strings without a reference unchanged", () => {
    const json = fc.jsonValue().filter((value) => !JSON.stringify(value).includes("env:"));
    fc.assert(fc.property(json, (value) => expect(withEnvironment(value, {}, "here")).toEqual(value)));
  });
});

describe("a manifest that extends the built-in one", () => {
  const builtin: Manifest = {
    flags: { big: false, odd: true },
    plugins: [{ use: "a" }, { use: "b", unless: "big" }, { use: "c" }],
  };
  const parsed = (manifest: object) => extended(parseManifest(JSON.stringify(manifest), file), builtin);

  test("has all its rows and flags, followed by its own", () => {
    expect(parsed({ extends: "builtin", plugins: [{ use: "./own.ts" }] })).toEqual({
      flags: { big: false, odd: true },
      plugins: [{ use: "a" }, { use: "b", unless: "big" }, { use: "c" }, { use: "./own.ts" }],
    });
  });

  test("can remove plugins, and change other settings", () => {
    const http = { rate: 5 };
    expect(parsed({ extends: "builtin", http, require_pins: true })).toEqual({ ...builtin, http, require_pins: true });
  });

  test("replaces a row with the same use by its own, and can change the state of a flag", () => {
    const own = { use: "b", when: "mine", config: { speed: 1 } };
    expect(parsed({ extends: "builtin", flags: { big: true, mine: false }, plugins: [own] })).toEqual({
      flags: { big: true, odd: true, mine: false },
      plugins: [{ use: "a" }, { use: "c" }, own],
    });
  });

  test("does not change the built-in one", () => {
    expect(parsed({ plugins: [{ use: "a" }] })).toEqual({ plugins: [{ use: "a" }] });
  });
});
