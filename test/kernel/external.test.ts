/**
 * Loading of plugin files that are not built in: paths and packages, pins, shapes that are refused, and files that use
 * another copy of `unibus/plugin`.
 */
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { token } from "../../src/contracts/plugin.ts";
import { loadPlugin } from "../../src/kernel/external.ts";
import type { Row } from "../../src/kernel/manifest.ts";
import { Files, providing, raw, refusalOf, serving } from "./bus.ts";

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const builtins = { auth: async () => ({ default: providing("auth", {}) }) };

/** Source of a minimal plugin file. */
const source = (name: string, rest = ""): string =>
  `import { definePlugin, Type } from "unibus/plugin";
   ${rest}
   export default definePlugin({ name: "${name}", api: 1, config: Type.Object({}), setup: async () => ({ services: {} }) });`;

/** Loads one manifest row in a folder. */
function load(folder: Files, row: Row, requirePins = false): Promise<{ readonly name: string }> {
  return loadPlugin(row, { builtins, file: folder.write("plugins.json", "{}"), requirePins });
}

describe("a plugin file", () => {
  test("is resolved relative to the manifest or by absolute path, and can import relative files", async () => {
    using folder = new Files();
    folder.write("part.ts", "export const part: string = 'a part';");
    const file = folder.write("own.ts", source("own", 'import { part } from "./part.ts"; console.assert(part);'));
    expect((await load(folder, { use: "./own.ts" })).name).toBe("own");
    expect((await load(folder, { use: file })).name).toBe("own");
  });

  test("is checked against its sha256 before any of its code runs", async () => {
    using folder = new Files();
    const text = source("pinned", "(globalThis as { ran?: boolean }).ran = true;");
    const file = folder.write("pinned.ts", text);
    const pin = "0".repeat(64);
    const { message } = await refusalOf(() => load(folder, { use: "./pinned.ts", sha256: pin }));
    const what = `plugin ./pinned.ts has sha256 ${sha256(text)}, expected ${pin}`;
    expect(message).toBe(
      `${resolve(file, "../plugins.json")}: ${what} (review what changed in the file, then correct sha256)`,
    );
    expect("ran" in globalThis).toBe(false);
    expect((await load(folder, { use: "./pinned.ts", sha256: sha256(text) })).name).toBe("pinned");
    expect("ran" in globalThis).toBe(true);
    Reflect.deleteProperty(globalThis, "ran");
  });

  test("needs a sha256 when require_pins is set, and the error shows it", async () => {
    using folder = new Files();
    const text = source("loose");
    folder.write("loose.ts", text);
    const { message } = await refusalOf(() => load(folder, { use: "./loose.ts" }, true));
    const what = "plugin ./loose.ts has no sha256, but require_pins is set";
    expect(message).toEndWith(`plugins.json: ${what} (add "sha256": "${sha256(text)}")`);
    expect((await load(folder, { use: "./loose.ts", sha256: sha256(text) }, true)).name).toBe("loose");
    expect((await load(folder, { use: "auth" }, true)).name).toBe("auth");
  });

  const broken: readonly (readonly [string, string, RegExp])[] = [
    ["has a syntax error", "export default {", /failed to load: .+ \(see .+broken\.ts\)$/],
    ["imports a missing file", 'import "./gone.ts";', /failed to load: .*gone\.ts.* \(see .+broken\.ts\)$/],
    ["imports a missing package", 'import "no-such-package";', /no-such-package.* \(see .+broken\.ts\)$/],
    [
      "imports a name that unibus/plugin does not export",
      'import { nope } from "unibus/plugin"; nope();',
      /failed to load: .*nope/,
    ],
    ["throws", 'throw new Error("not today\\nat some place");', /failed to load: not today \(see .+broken\.ts\)$/],
    ["throws a value that is not an Error", "throw null;", /failed to load: null \(see/],
    ["has no default export", "export const a = 1;", /does not export a plugin \(export default definePlugin/],
    ["exports something else", "export default { name: 'x', api: 1 };", /does not export a plugin \(export default/],
    ["exports null", "export default null;", /does not export a plugin/],
    [
      "has no name",
      "export default { api: 1, config: {}, setup() {} };",
      /name is missing \(wanted: lowercase letters/,
    ],
    [
      "targets another plugin API",
      "export default { name: 'x', api: 2, config: {}, setup() {} };",
      /targets plugin API 2 \(this version supports API 1\)$/,
    ],
    ["declares no plugin API", "export default { name: 'x', config: {}, setup() {} };", /targets plugin API none \(/],
    [
      "has no schema",
      "export default { name: 'x', api: 1, setup() {} };",
      /config is missing \(wanted: a Type\.Object/,
    ],
  ];
  test.each(broken)("that %s is refused, with the manifest, the plugin and the fix", async (_, text, pattern) => {
    using folder = new Files();
    folder.write("broken.ts", text);
    const { message } = await refusalOf(() => load(folder, { use: "./broken.ts" }));
    expect(message).toStartWith(`${join(folder.path, "plugins.json")}: plugin ./broken.ts`);
    expect(message).toMatch(pattern);
    expect(message).not.toContain("\n");
  });
});

describe("a manifest row", () => {
  test.each([
    ["missing", "unknown plugin missing (choose one of auth, or a file path that begins with ./)"],
    ["own.ts", "unknown plugin own.ts (choose one of auth, or a file path that begins with ./)"],
    ["toString", "unknown plugin toString (choose one of auth, or a file path that begins with ./)"],
  ])("that does not name a plugin is refused: %s", async (use, message) => {
    using folder = new Files();
    expect((await refusalOf(() => load(folder, { use }))).message).toEndWith(`plugins.json: ${message}`);
  });

  test("that names a missing file is refused", async () => {
    using folder = new Files();
    const { message } = await refusalOf(() => load(folder, { use: "./gone.ts" }));
    expect(message).toEndWith(`plugin ./gone.ts: no file at ${join(folder.path, "gone.ts")} (correct the path)`);
  });

  test("that names a folder is refused", async () => {
    using folder = new Files();
    mkdirSync(join(folder.path, "folder"));
    const { message } = await refusalOf(() => load(folder, { use: "./folder" }));
    expect(message).toEndWith(`plugin ./folder: no file at ${join(folder.path, "folder")} (correct the path)`);
  });

  test("that pins a built-in plugin is refused", async () => {
    using folder = new Files();
    const { message } = await refusalOf(() => load(folder, { use: "auth", sha256: "0".repeat(64) }));
    expect(message).toEndWith("plugins.json: plugin auth is built in and cannot have a sha256 (remove sha256)");
  });
});

describe("a plugin with its own node_modules", () => {
  test("shares unibus's TypeBox, even with another copy beside it", async () => {
    using folder = new Files();
    const own = join(folder.path, "node_modules", "@sinclair", "typebox");
    cpSync(resolve(import.meta.dir, "../../node_modules/@sinclair/typebox"), own, { recursive: true });
    for (const part of ["index.mjs", "value/index.mjs"]) {
      writeFileSync(join(own, "build", "esm", part), "export const Type = null; export const Value = null;");
    }
    folder.write(
      "own.ts",
      `import { Type } from "@sinclair/typebox";
       import { Value } from "@sinclair/typebox/value";
       import { Type as Ours, definePlugin } from "unibus/plugin";
       if (Type !== Ours || !Value.Check(Type.String(), "x")) throw new Error("another copy");
       export default definePlugin({ name: "own", api: 1, config: Type.Object({}), setup: async () => ({ services: {} }) });`,
    );
    expect((await load(folder, { use: "./own.ts" })).name).toBe("own");
  });

  test("provides and uses services by token id, and its errors are recognized by their brand", async () => {
    using folder = new Files();
    // Does not import unibus/plugin: it has what another copy of that module would have produced.
    const file = folder.write(
      "foreign.ts",
      `class UnibusError extends Error {
         readonly [Symbol.for("unibus.error")] = true;
         readonly code = "gone";
       }
       const config = { type: "object", properties: {}, [Symbol.for("TypeBox.Kind")]: "Object" };
       const handle = async () => { throw new UnibusError("it was here"); };
       const spec = { method: "GET", path: "/foreign", access: "public", summary: "Fails." };
       export default {
         name: "foreign", api: 1, config, routes: [spec], requires: { word: { id: "acme.word" } }, provides: { echo: { id: "acme.echo" } },
         setup: async (_: unknown, { word }: { word: string }) => ({
           services: { echo: word + word },
           routes: [{ spec, handle }],
         }),
       };`,
    );
    const word = providing("word", { provides: { word: token<string>("acme.word") } });
    await using bus = await serving([word], {
      rows: [{ use: file }, { use: "word" }],
      file: folder.write("p.json", ""),
    });
    expect(bus.bus.service(token<string>("acme.echo"))).toBe("wordword");
    const { status, body } = await raw(bus.port, "GET /foreign HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect([status, JSON.parse(body)]).toEqual([410, { error: "it was here", code: "gone" }]);
  });
});
