import { describe } from "bun:test";
import type { Node } from "oxc-parser";
import {
  codeIn,
  isNode,
  judge,
  parsed,
  placeOf,
  type Rule,
  type SourceFile,
  type Tree,
  targetsOf,
  visit,
} from "./rules.ts";

/**
 * The modules that other programs import: every export of theirs, and of what they re-export, is used. The last one is
 * what the build for browsers has in place of TypeBox.
 */
const published: readonly string[] = [
  ...["src/client/index.ts", "src/contracts/index.ts"],
  "src/client/transport/schema-browser.ts",
];

/** What uses an export: the product, its tools, and the suite that is published as `unibus/testing`. */
const users: readonly string[] = ["src/", "scripts/", "bench/", "examples/", "test/conformance/"];

/**
 * Functions that their own file uses, and that are exported for tests, each with a reason. A stale row is reported.
 */
const seams: Readonly<Record<string, string>> = {
  "src/cli/print.ts fieldLines": "the test compares what commands print with it",
  "src/cli/terminal-footer.ts footerRows": "the test lays out footers for terminals of any size",
  "src/plugins/blobs-nats/sweep.ts sweep": "the test sweeps without waiting for the interval",
  "src/plugins/nats-embedded/start-progress.ts streamsIn": "the test counts streams in folders of its own",
  "src/plugins/room-streams/sweep.ts sweep": "the test sweeps without waiting for the interval",
  "src/plugins/store-sqlite/database.ts connect": "the test opens the file without migrations",
  "src/plugins/store-sqlite/database.ts databaseOver": "the test puts faults between the store and SQLite",
  "src/plugins/store-sqlite/store.ts storeOver": "the test puts faults between the store and SQLite",
};

/** All names of a module. */
const all = "*";

/** The names that a file uses of each module, by path. */
function namesUsed(file: SourceFile): [path: string, name: string][] {
  const found: [string, string][] = [];
  const add = (source: Node | null, names: readonly string[]): void => {
    if (source?.type !== "Literal" || typeof source.value !== "string") return;
    for (const path of targetsOf(file, source.value)) for (const name of names) found.push([path, name]);
  };
  const nameOf = (node: Node): string =>
    node.type === "Literal" ? String(node.value) : (node as { name: string }).name;
  const { program } = parsed(file);
  if (program.type !== "Program") return found;
  for (const node of program.body) {
    if (node.type === "ImportDeclaration") {
      const names = node.specifiers.map((one) => {
        if (one.type === "ImportNamespaceSpecifier") return all;
        return one.type === "ImportDefaultSpecifier" ? "default" : nameOf(one.imported as Node);
      });
      add(node.source, names);
    } else if (node.type === "ExportNamedDeclaration") {
      add(
        node.source,
        node.specifiers.map((one) => nameOf(one.local as Node)),
      );
    } else if (node.type === "ExportAllDeclaration") {
      add(node.source, [all]);
    }
  }
  // Few files have such imports, and only they are read in full.
  if (!file.text.includes("import(")) return found;
  visit(program, (node) => {
    if (node.type === "ImportExpression" || node.type === "TSImportType") add(node.source, [all]);
  });
  return found;
}

interface Export {
  readonly name: string;
  /**
   * A type or a constant. It is alive if its own file uses it, for a type may be in the signature of an export, and a
   * constant may be a limit that a test compares.
   */
  readonly isPlain: boolean;
  readonly start: number;
}

/** The names bound by a declaration. */
function boundBy(node: Node): Export[] {
  if (node.type === "VariableDeclaration") {
    return node.declarations.flatMap(({ id, init }) => {
      const isFunction = init?.type === "ArrowFunctionExpression" || init?.type === "FunctionExpression";
      return patternNames(id as Node).map((one) => ({ ...one, isPlain: !isFunction }));
    });
  }
  const isPlain = node.type === "TSInterfaceDeclaration" || node.type === "TSTypeAliasDeclaration";
  const id = (node as { id?: unknown }).id;
  return isNode(id) && id.type === "Identifier" ? [{ name: id.name, isPlain, start: id.start }] : [];
}

function patternNames(node: Node): Export[] {
  if (node.type === "Identifier") return [{ name: node.name, isPlain: false, start: node.start }];
  if (node.type !== "ObjectPattern") return [];
  return node.properties.flatMap((one) => (one.type === "Property" ? patternNames(one.value as Node) : []));
}

/** What a file declares and exports. */
function exportsOf(file: SourceFile): Export[] {
  const { program } = parsed(file);
  if (program.type !== "Program") return [];
  return program.body.flatMap((node) => {
    if (node.type !== "ExportNamedDeclaration") return [];
    const { declaration } = node;
    return declaration === null ? [] : boundBy(declaration as Node);
  });
}

const identifiers = new WeakMap<SourceFile, Map<string, number>>();

/** How often an identifier is written in a file. */
function timesIn(file: SourceFile, name: string): number {
  const known = identifiers.get(file) ?? new Map<string, number>();
  if (!identifiers.has(file)) {
    visit(parsed(file).program, (node) => {
      if (node.type === "Identifier") known.set(node.name, (known.get(node.name) ?? 0) + 1);
    });
    identifiers.set(file, known);
  }
  return known.get(name) ?? 0;
}

const keyOf = (file: SourceFile, name: string): string => `${file.path} ${name}`;

/** The exports that nothing but tests and their own file uses. */
function unusedExports(tree: Tree): (Export & { readonly file: SourceFile })[] {
  const used = new Map<string, Set<string>>();
  const use = (path: string, name: string): void => {
    used.set(path, (used.get(path) ?? new Set()).add(name));
  };
  for (const path of published) use(path, all);
  for (const file of codeIn(tree, ...users)) for (const [path, name] of namesUsed(file)) use(path, name);
  return codeIn(tree, "src/").flatMap((file) => {
    const names = used.get(file.path) ?? new Set();
    if (names.has(all)) return [];
    return exportsOf(file)
      .filter(({ name, isPlain }) => !names.has(name) && !(isPlain && timesIn(file, name) > 1))
      .map((one) => ({ ...one, file }));
  });
}

const deadExports: Rule = {
  name: "every export of src is used outside tests",
  because: "what only a test uses is not part of the product: test it through what uses it, or remove both",
  check: (tree) =>
    unusedExports(tree)
      .filter(({ file, name }) => seams[keyOf(file, name)] === undefined)
      .map(({ file, name, start }) => `${placeOf(file, start)} ${name}`),
  bad: {
    "src/a.ts": "export const a = 1; export function b() {}",
    "src/b.ts": 'import { a } from "./a.ts";',
    "test/a.test.ts": 'import { b } from "../src/a.ts";',
  },
  good: {
    "src/a.ts": "export const a = 1; export function b() {} export type C = 1; export const { d } = { d: 1 };",
    "src/b.ts":
      'import { a, type C } from "./a.ts"; export { b as x } from "./a.ts"; const c = () => import("./c.ts");',
    "src/c.ts": "export const c = 1;",
    "scripts/d.ts": 'import { d } from "../src/a.ts";',
    "src/client/index.ts": 'export * from "./e.ts";',
    "src/client/e.ts": "export const e = 1;",
  },
};

const liveSeams: Rule = {
  name: "every export for tests is still one",
  because: "a row that outlives its cause lets the next one in unseen",
  check: (tree) => {
    if (!tree.has("src/cli/main.ts")) return [];
    const unused = new Map(unusedExports(tree).map((one) => [keyOf(one.file, one.name), one]));
    const tested = new Set(
      codeIn(tree, "test/")
        .flatMap(namesUsed)
        .map(([path, name]) => `${path} ${name}`),
    );
    return Object.keys(seams).filter((key) => {
      const one = unused.get(key);
      return one === undefined || timesIn(one.file, one.name) < 2 || !tested.has(key);
    });
  },
  bad: { "src/cli/main.ts": "" },
};

describe("dead code", () => {
  for (const rule of [deadExports, liveSeams]) judge(rule);
});
