/** What a command loads before it knows whether it needs it: each of these packages takes a good part of its start. */
import { describe } from "bun:test";
import { codeIn, judge, parsed, type Rule, type SourceFile, type Tree, targetsOf, visit } from "./rules.ts";

/** Packages that the modules below a path must load on demand, by `import()`. */
const onDemand: readonly { readonly from: string; readonly packages: readonly string[] }[] = [
  { from: "src/cli/program.ts", packages: ["nats", "elysia", "libsodium-wrappers", "@sinclair/typebox"] },
  { from: "src/cli/peer/", packages: ["nats", "@nats-io/nats-core", "elysia"] },
  { from: "src/cli/admin/", packages: ["nats", "@nats-io/nats-core", "elysia"] },
  { from: "src/cli/server/user.ts", packages: ["elysia", "libsodium-wrappers", "node:http"] },
  { from: "src/cli/server/host.ts", packages: ["elysia", "libsodium-wrappers", "node:http"] },
];

const importLists = new WeakMap<SourceFile, string[]>();

/** What a file imports with statements that run at once. */
function staticImports(file: SourceFile): string[] {
  const known = importLists.get(file);
  if (known !== undefined) return known;
  const found: string[] = [];
  visit(parsed(file).program, (node) => {
    const isImport = node.type === "ImportDeclaration" && node.importKind !== "type";
    const isExport =
      (node.type === "ExportAllDeclaration" || node.type === "ExportNamedDeclaration") && node.exportKind !== "type";
    if (!isImport && !isExport) return;
    const { source } = node;
    if (source?.type === "Literal" && typeof source.value === "string") found.push(...targetsOf(file, source.value));
  });
  importLists.set(file, found);
  return found;
}

/** What is loaded with a file, with the file that imports it. */
function loadedWith(tree: Tree, path: string): ReadonlyMap<string, string> {
  const by = new Map([[path, ""]]);
  // A map also visits what is added on the way.
  for (const at of by.keys()) {
    const file = tree.get(at);
    if (file === undefined || at.endsWith("-browser.ts")) continue;
    for (const to of staticImports(file)) if (!by.has(to)) by.set(to, at);
  }
  return by;
}

const lazy: Rule = {
  name: "a command loads large packages on demand",
  because: "every command line pays for what its modules load at once",
  check: (tree) =>
    onDemand.flatMap(({ from, packages }) =>
      codeIn(tree, from).flatMap(({ path }) => {
        const by = loadedWith(tree, path);
        return packages.filter((name) => by.has(name)).map((name) => `${path}: ${name}, through ${by.get(name)}`);
      }),
    ),
  bad: { "src/cli/peer/a.ts": 'import "../b.ts";', "src/cli/b.ts": 'import "nats";' },
  good: {
    "src/cli/peer/a.ts": 'import type { A } from "nats"; import "../b.ts";',
    "src/cli/b.ts": 'const c = () => import("nats");',
  },
};

describe("start", () => judge(lazy));
