/**
 * The dependency rules of the project: which folder may import what, no import cycles, and no host-only globals in
 * code for browsers. `docs/architecture.md` explains the rows of the table.
 */
import { describe, expect, test } from "bun:test";
import {
  codeIn,
  type Import,
  importsOf,
  judge,
  parsed,
  placeOf,
  projectTree,
  type Rule,
  type Tree,
  treeOf,
  visit,
} from "./rules.ts";

/** The allowed imports of the files below `from`. For each file the first matching row applies. */
interface Arrow {
  /** A folder, a file, or a prefix of a file name. `*` matches one name; `$1` repeats the first match. */
  readonly from: string;
  /** Path prefixes, package names, `node:`, `bun`, or `packages` for any. The prefix `type ` allows types only. */
  readonly may: readonly string[];
}

const wire = ["src/wire/", "@sinclair/typebox"];
const hashes = ["@noble/hashes"];
const runtime = ["bun", "node:"];
const lib = ["src/lib/"];
const kernel = [...lib, "src/kernel/", "src/contracts/", ...wire, ...runtime, "package.json"];
const natsClient = ["nats", "@nats-io/nats-core", "ws", "#nats"];
const client = [...lib, "src/client/", ...wire, ...natsClient, "@noble/", "@scure/"];

/** Packages that `packages` does not include, because one folder owns each of them. */
const owned = new Set(["elysia", "commander"]);

const arrows: readonly Arrow[] = [
  { from: "src/lib/atomic-file.ts", may: [...lib, "node:"] },
  { from: "src/lib/", may: lib },
  { from: "src/wire/*-node.ts", may: [...lib, ...wire, "node:"] },
  { from: "src/wire/fingerprint.ts", may: [...wire, "@scure/bip39"] },
  { from: "src/wire/", may: [...lib, ...wire, ...hashes] },
  { from: "src/contracts/nats.ts", may: [...lib, "src/contracts/", ...wire, "type nats"] },
  { from: "src/contracts/secret-file.ts", may: [...lib, "src/contracts/", ...wire, "node:"] },
  { from: "src/contracts/signature.ts", may: [...lib, "src/contracts/", ...wire, "node:"] },
  { from: "src/contracts/tls.ts", may: [...lib, "src/contracts/", ...wire, "node:"] },
  { from: "src/contracts/", may: [...lib, "src/contracts/", ...wire] },
  { from: "src/kernel/http", may: [...kernel, "elysia"] },
  { from: "src/kernel/", may: kernel },
  { from: "src/nats/", may: [...lib, "src/nats/", "src/contracts/", ...wire, "nats"] },
  { from: "src/plugins/index.ts", may: ["src/plugins/", "src/contracts/"] },
  {
    from: "src/plugins/web/",
    may: [...lib, "src/plugins/web/", "src/web/", "src/contracts/", ...wire, ...runtime, "packages"],
  },
  {
    from: "src/plugins/*/",
    may: [...lib, "src/plugins/$1/", "src/nats/", "src/contracts/", ...wire, ...runtime, "packages"],
  },
  { from: "src/client/*/*-node.ts", may: [...client, "node:", "libsodium-wrappers"] },
  { from: "src/client/", may: client },
  { from: "src/web/", may: [...lib, "src/web/", "src/client/", ...wire] },
  {
    from: "src/cli/",
    may: [
      ...[...lib, "src/cli/", "src/kernel/", "src/plugins/index.ts", "src/client/", "src/nats/", "src/contracts/"],
      ...[...wire, ...runtime, "packages", "commander", "package.json", "plugins.json"],
    ],
  },
  { from: "examples/plugins/", may: ["unibus/plugin"] },
  { from: "examples/", may: ["src/client/", "unibus/client", ...wire, ...runtime, "packages"] },
  {
    from: "scripts/",
    may: [...lib, "scripts/", "src/cli/", "src/plugins/", "src/wire/", ...runtime, "packages", "package.json"],
  },
];

/** Imports that no row allows, each with a reason. An unused exception is reported. */
const exceptions: readonly { readonly from: string; readonly to: string; readonly because: string }[] = [
  {
    from: "src/plugins/nats-embedded/binary.ts",
    to: ".cache/nats-server/",
    because: "the executable contains the nats-server that the build embedded",
  },
  {
    from: "src/cli/carried-licenses.ts",
    to: ".cache/licenses/",
    because: "the executable contains the licences that the build collected",
  },
  {
    from: "src/cli/main.ts",
    to: "src/plugins/nats-embedded/launch.ts",
    because: "the executable starts itself with a hidden command, which then becomes nats-server",
  },
];

const escaped = (text: string) => text.replace(/[.+?^${}()|[\]\\]/g, "\\$&");

function rowOf(path: string): readonly string[] | null {
  for (const { from, may } of arrows) {
    const found = new RegExp(`^${escaped(from).replaceAll("*", "([^/]+)")}`).exec(path);
    if (found !== null) return may.map((target) => target.replace("$1", found[1] ?? ""));
  }
  return null;
}

function allowed(one: Import, may: readonly string[]): boolean {
  return may.some((target) => {
    if (target.startsWith("type ")) return one.isType && one.to === target.slice(5);
    if (target === "packages") return one.isPackage && !owned.has(one.to);
    return target.endsWith("/") ? one.to.startsWith(target) : one.to === target;
  });
}

const excepted = (from: string, to: string) =>
  exceptions.filter((row) => from.startsWith(row.from) && to.startsWith(row.to));

const forbidden: Rule = {
  name: "imports follow the arrows",
  because:
    "a reader then knows where an import can come from, and built-in plugins have no privileges over external ones",
  check: (tree) =>
    codeIn(tree, "src/", "examples/", "scripts/").flatMap((file) => {
      const may = rowOf(file.path);
      if (may === null) return [`${file.path} -> no row of the table is for this folder`];
      return importsOf(file)
        .filter((one) => !allowed(one, may) && excepted(file.path, one.to).length === 0)
        .map((one) => `${file.path} -> ${one.isPackage ? one.specifier : one.to}`);
    }),
  bad: { "src/wire/a.ts": 'import { b } from "../kernel/b.ts";' },
  good: { "src/kernel/a.ts": 'import { b } from "../wire/b.ts";' },
};

const refused: readonly (readonly [string, string])[] = [
  ["src/wire/a.ts", 'import sodium from "libsodium-wrappers";'],
  ["src/lib/a.ts", 'import { x } from "../wire/x.ts";'],
  ["src/lib/a.ts", 'import { hash } from "node:crypto";'],
  ["src/wire/a.ts", 'import { hash } from "node:crypto";'],
  ["src/nats/jetstream.ts", 'import { x } from "../plugins/rooms/rules.ts";'],
  ["src/nats/jetstream.ts", 'import { hash } from "node:crypto";'],
  ["src/contracts/nats.ts", 'import { x } from "../nats/crossings.ts";'],
  ["src/contracts/store.ts", 'import type { NatsConnection } from "nats";'],
  ["src/contracts/nats.ts", 'import { connect } from "nats";'],
  ["src/kernel/boot.ts", 'import { Elysia } from "elysia";'],
  ["src/kernel/boot.ts", 'const x = import("../plugins/index.ts");'],
  ["src/plugins/rooms/index.ts", 'import { x } from "../auth/index.ts";'],
  ["src/plugins/rooms/index.ts", 'export { boot } from "../../kernel/boot.ts";'],
  ["src/plugins/rooms/index.ts", 'import { Elysia } from "elysia";'],
  ["src/client/index.ts", 'import { readFile } from "node:fs/promises";'],
  ["src/client/index.ts", 'import type { Rooms } from "../contracts/rooms.ts";'],
  ["src/cli/main.ts", 'import { x } from "../plugins/rooms/rules.ts";'],
  ["src/cli/main.ts", 'import { x } from "../../test/support/x.ts";'],
  ["src/kernel/boot.ts", 'let x: import("../cli/main.ts").X;'],
  ["examples/plugins/echo.ts", 'import { x } from "../../src/contracts/index.ts";'],
  ["src/new/a.ts", 'import "node:fs";'],
];

/** The path of an import cycle through `start`, or null. */
function cycleFrom(start: string, edges: ReadonlyMap<string, readonly string[]>): string[] | null {
  const seen = new Set<string>();
  const walk = (path: string, trail: readonly string[]): string[] | null => {
    for (const next of edges.get(path) ?? []) {
      if (next === start) return [...trail, next];
      if (seen.has(next)) continue;
      seen.add(next);
      const found = walk(next, [...trail, next]);
      if (found !== null) return found;
    }
    return null;
  };
  return walk(start, [start]);
}

function cycles(tree: Tree): string[] {
  const edges = new Map(
    codeIn(tree, "src/").map((file) => [
      file.path,
      importsOf(file)
        .filter((one) => !one.isType && tree.has(one.to))
        .map((one) => one.to),
    ]),
  );
  // Report each cycle once: only the path that starts at its first file.
  return [...edges.keys()].flatMap((path) => {
    const found = cycleFrom(path, edges);
    return found === null || found.some((other) => other < path) ? [] : [found.join(" -> ")];
  });
}

const noCycles: Rule = {
  name: "there are no import cycles in src",
  because:
    "files in a cycle are really one file; only type imports may point back, because they do not exist at run time",
  check: cycles,
  bad: {
    "src/a.ts": 'import "./b.ts";',
    "src/b.ts": 'export * from "./c.ts";',
    "src/c.ts": 'import { a } from "./a.ts";',
  },
  good: { "src/a.ts": 'import "./b.ts";', "src/b.ts": 'import type { A } from "./a.ts";' },
};

const hostGlobals = new Set(["Buffer", "Bun", "process", "require", "__dirname", "__filename"]);

const browserSafe: Rule = {
  name: "wire and client use only globals that a browser has",
  because: "the same code runs in the browser",
  check: (tree) =>
    codeIn(tree, "src/wire/", "src/client/", "src/web/").flatMap((file) => {
      const found: string[] = [];
      // The file has a counterpart for browsers.
      if (file.path.endsWith("-node.ts")) return found;
      visit(parsed(file).program, (node, parent) => {
        if (node.type !== "Identifier" || !hostGlobals.has(node.name)) return;
        const isMember = parent?.type === "MemberExpression" && parent.property === node && !parent.computed;
        const isKey = parent?.type === "Property" && parent.key === node && !parent.shorthand;
        if (!isMember && !isKey) found.push(`${placeOf(file, node.start)} ${node.name}`);
      });
      return found;
    }),
  bad: { "src/wire/a.ts": "export const a = Buffer.from([]);" },
  good: {
    "src/wire/a.ts": "export const a = { Buffer: 1 }.Buffer;",
    "src/wire/a-node.ts": "export const a = Buffer.from([]);",
    "src/cli/a.ts": "process.exit();",
  },
};

const readable: Rule = {
  name: "every file can be read by the rules",
  because: "a rule that parses half of a file approves the other half",
  check: (tree) =>
    codeIn(tree, "src/", "test/", "bench/", "scripts/", "examples/").flatMap((file) =>
      parsed(file).errors.map((error) => `${file.path}: ${error}`),
    ),
  bad: { "src/a.ts": "export const = 1;" },
  good: { "src/a.ts": "export const a: number = 1;", "src/b.d.ts": 'declare module "*.sql";' },
};

const liveExceptions: Rule = {
  name: "each exception to the arrows is used and has a reason",
  because: "an exception that is no longer needed hides the next violation",
  check: (tree) => {
    const used = new Set(
      codeIn(tree, "src/", "examples/", "scripts/").flatMap((file) =>
        importsOf(file).flatMap((one) => excepted(file.path, one.to)),
      ),
    );
    const whole = tree.has("src/cli/main.ts");
    return exceptions
      .filter((row) => (whole && !used.has(row)) || row.because.split(" ").length < 4)
      .map((row) => `${row.from} -> ${row.to}`);
  },
  bad: { "src/cli/main.ts": "" },
};

describe("arrows", () => {
  test("the whole project is read", () => {
    const tree = projectTree();
    for (const path of ["package.json", "src/wire/names.ts", "test/tidy/arrows.test.ts", ".gitignore"]) {
      expect(tree.has(path)).toBe(true);
    }
    expect([...tree.keys()].filter((path) => /(^|\/)(node_modules|\.git|\.cache|dist)\//.test(path))).toEqual([]);
    expect(codeIn(tree, "src/").flatMap(importsOf).length).toBeGreaterThan(50);
  });
  judge(readable);
  judge(forbidden);
  test.each(refused)("%s must not contain %s", (path, text) => {
    expect(forbidden.check(treeOf({ [path]: text }))).toHaveLength(1);
  });
  judge(liveExceptions);
  judge(noCycles);
  judge(browserSafe);
});
