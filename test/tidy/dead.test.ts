/** The project has no unused files, exports or dependencies, and every version is exact. */
import { describe } from "bun:test";
import { codeIn, importsOf, judge, type Rule, type SourceFile, type Tree } from "./rules.ts";

/** Entry points, which no other file has to import. */
const entryPoints: readonly string[] = ["src/cli/main.ts"];

/** The file through which others enter a folder. A folder without that file is not checked. */
const heads: Readonly<Record<string, string>> = {
  "src/cli/": "src/cli/main.ts",
  "src/client/": "src/client/index.ts",
  "src/contracts/": "src/contracts/index.ts",
  "src/kernel/": "src/kernel/boot.ts",
  "src/plugins/": "src/plugins/index.ts",
};

/** Packages that the CycloneDX validator loads by itself if they are installed. */
const validation: readonly string[] = ["ajv", "ajv-formats", "ajv-formats-draft2019"];

/** Packages that the programs of docs/by-hand.md import. */
const byHand: readonly string[] = ["@nats-io/transport-node"];

/** Packages that work without an import: tools, and types. */
const unimported: readonly string[] = [
  ...["@biomejs/biome", "bun", "bun-types", "typescript"],
  ...validation,
  ...byHand,
];

/** Dependencies that are installed with the package. All others are bundled in its modules or in the executable. */
const shipped: readonly string[] = ["@sinclair/typebox"];

interface Manifest {
  readonly exports?: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

const manifestOf = (tree: Tree) => JSON.parse(tree.get("package.json")?.text ?? "{}") as Manifest;

function published(tree: Tree): string[] {
  return Object.values(manifestOf(tree).exports ?? {})
    .flatMap((target) => (typeof target === "string" ? [target] : Object.values(target)))
    .map((path) => path.replace(/^\.\//, ""));
}

/** Paths that a file names without an import: `new URL("./x.ts", ..)`, `join(dir, "x.ts")`, HTML. */
const namesOf = (file: SourceFile): string[] => file.text.match(/[\w./-]+\.(ts|tsx)(?=["'`])/g) ?? [];

const deadFiles: Rule = {
  name: "every file of src is imported by another",
  because: "unreachable code costs reading and maintenance for nothing",
  check: (tree) => {
    const alive = new Set([...entryPoints, ...published(tree)]);
    const named = new Set<string>();
    for (const file of codeIn(tree, "src/", "scripts/")) {
      for (const one of importsOf(file)) if (one.to !== file.path) alive.add(one.to);
      for (const name of namesOf(file)) named.add(name.split("/").at(-1) ?? "");
    }
    for (const file of tree.values()) {
      if (file.path.endsWith(".html")) for (const name of namesOf(file)) named.add(name.split("/").at(-1) ?? "");
    }
    return codeIn(tree, "src/")
      .map((file) => file.path)
      .filter((path) => {
        const folder = Object.keys(heads).find((one) => path.startsWith(one));
        const head = folder === undefined ? undefined : heads[folder];
        const isJudged = head === undefined || (tree.has(head) && path !== head);
        const isNamed = !path.endsWith("/index.ts") && named.has(path.split("/").at(-1) ?? "");
        return isJudged && !path.endsWith(".d.ts") && !alive.has(path) && !isNamed;
      });
  },
  bad: { "src/wire/a.ts": "export {};", "src/wire/b.ts": 'import "./b.ts"; import "./c.ts";', "src/wire/c.ts": "" },
  good: {
    "package.json": '{ "exports": { "./a": "./src/wire/a.ts" } }',
    "src/wire/a.ts": 'const b = () => import("./b.ts");',
    "src/wire/b.ts": 'new Worker(new URL("./c.ts", import.meta.url));',
    "src/wire/c.ts": "",
    "src/cli/early.ts": "",
  },
};

const code = ["src/", "test/", "bench/", "scripts/", "examples/"] as const;

const unusedPackages: Rule = {
  name: "every dependency is imported",
  because: "each one is downloaded, audited and trusted",
  check: (tree) => {
    if (!Object.values(heads).every((head) => tree.has(head))) return [];
    const used = new Set([
      ...codeIn(tree, ...code)
        .flatMap(importsOf)
        .map((one) => one.to),
      ...unimported,
    ]);
    const { dependencies, devDependencies } = manifestOf(tree);
    return Object.keys({ ...dependencies, ...devDependencies }).filter((name) => !used.has(name));
  },
  bad: {
    ...Object.fromEntries(Object.values(heads).map((head) => [head, 'import "used/deep";'])),
    "package.json": '{ "dependencies": { "used": "1.0.0" }, "devDependencies": { "unused": "1.0.0" } }',
  },
  good: { "package.json": '{ "dependencies": { "used": "1.0.0" } }', "src/a.ts": 'import "used";' },
};

const shippedPackages: Rule = {
  name: "the published package depends on exactly what its modules import",
  because: "a user who installs the client needs neither a web server nor a command line",
  check: (tree) => Object.keys(manifestOf(tree).dependencies ?? {}).filter((name) => !shipped.includes(name)),
  bad: { "package.json": '{ "dependencies": { "commander": "1.0.0" } }' },
  good: { "package.json": '{ "dependencies": { "@sinclair/typebox": "1.0.0" } }' },
};

const undeclaredPackages: Rule = {
  name: "every imported package is declared",
  because: "one that is installed only as a dependency of another can disappear with it",
  check: (tree) => {
    const { dependencies, devDependencies } = manifestOf(tree);
    const known = new Set(Object.keys({ ...dependencies, ...devDependencies }));
    return codeIn(tree, ...code).flatMap((file) =>
      importsOf(file)
        .filter((one) => one.isPackage && !known.has(one.to))
        .map((one) => `${file.path} -> ${one.to}`),
    );
  },
  bad: { "package.json": '{ "devDependencies": { "dev": "1.0.0" } }', "src/a.ts": 'import "other";' },
  good: {
    "package.json": '{ "dependencies": { "@a/b": "1.0.0" }, "devDependencies": { "dev": "1.0.0" } }',
    "src/a.ts": 'import "@a/b/deep.js"; import "node:fs"; import "bun:sqlite"; import "unibus/plugin";',
    "test/a.test.ts": 'import "dev"; import "bun:test";',
  },
};

const exactVersions: Rule = {
  name: "every version is exact",
  because: "two installs of one commit must be the same program",
  check: (tree) => {
    const { dependencies, devDependencies } = manifestOf(tree);
    return Object.entries({ ...dependencies, ...devDependencies })
      .filter(([, version]) => !/^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$/.test(version))
      .map(([name, version]) => `package.json: ${name} ${version}`);
  },
  bad: { "package.json": '{ "devDependencies": { "a": "^1.0.0" } }' },
  good: { "package.json": '{ "dependencies": { "a": "1.0.0-rc.1" } }' },
};

describe("dead code", () => {
  for (const rule of [deadFiles, unusedPackages, shippedPackages, undeclaredPackages, exactVersions]) judge(rule);
});
