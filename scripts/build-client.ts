/**
 * Builds the npm package into `dist`: the client for browsers and for Node and Bun, the module that plugins import, the
 * conformance suites, and type declarations for all of them. Everything is built in a temporary folder and then moved
 * into place file by file. `npm run build` and the tests of the package use it.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { lean } from "./lean.ts";
import { licencesText, npmParts } from "./licenses.ts";

const root = join(import.meta.dir, "..");
/** Maximum gzipped size of the browser client, in bytes. */
export const browserBytesMax = 110_000;

/** The platform of a bundle. */
export type Platform = "browser" | "node" | "bun";

/** The inputs of one bundle. */
export interface Bundle {
  /** Path from the root, or absolute. */
  readonly entry: string;
  readonly platform: Platform;
  readonly folder: string;
  /** The file's name without `.js`. */
  readonly name: string;
  /** Packages that remain imports. */
  readonly external?: readonly string[];
}

/** Bundles one entry as an ES module with a source map, and returns the file. Errors: those of Bun. */
export async function bundle({ entry, platform, folder, name, external = [] }: Bundle): Promise<string> {
  const { outputs } = await Bun.build({
    entrypoints: [join(root, relative(root, entry))],
    target: platform,
    format: "esm",
    outdir: folder,
    naming: { entry: `${name}.js` },
    external: [...external],
    sourcemap: "linked",
    minify: platform === "browser",
    plugins: platform === "browser" ? [lean] : [],
  });
  const made = outputs.find(({ kind }) => kind === "entry-point");
  if (made === undefined) throw new Error(`${entry} produced no module`);
  nameSources(`${made.path}.map`);
  return made.path;
}

/** Renames a map's sources to their paths in the project, so that it does not contain paths of the build machine. */
function nameSources(file: string): void {
  const map = JSON.parse(readFileSync(file, "utf8")) as { sources: string[] };
  const nameOf = (path: string) => (/^[a-z]+:/.test(path) ? path : relative(root, resolve(dirname(file), path)));
  const sources = map.sources.map((path) => `unibus:///${nameOf(path)}`);
  writeFileSync(file, JSON.stringify({ ...map, sources }));
}

/** The modules of the package with their folders in `dist`. External packages are imported from node_modules. */
const modules: readonly (Omit<Bundle, "folder"> & { readonly folder: string })[] = [
  { entry: "src/client/index.ts", platform: "browser", folder: "client", name: "browser" },
  { entry: "src/client/index.ts", platform: "node", folder: "client", name: "node", external: ["ws"] },
  {
    ...{ entry: "src/contracts/index.ts", platform: "bun", folder: "plugin", name: "index" },
    external: ["@sinclair/typebox"],
  },
  { entry: "test/conformance/index.ts", platform: "bun", folder: "testing", name: "index", external: ["bun:test"] },
];

/** The declarations that the package exports, each with the reference that it needs. */
const heads: Readonly<Record<string, string>> = {
  "src/client/index.d.ts": '/// <reference lib="esnext.disposable" />\n',
  "src/contracts/index.d.ts": '/// <reference lib="esnext.disposable" />\n',
  "test/conformance/index.d.ts": "",
};

const imported = /(\bfrom\s*|\bimport\s*\(\s*)"([^"]+)"/g;

/** Packages that a user of the package may not have. */
const optional = Object.keys(JSON.parse(readFileSync(join(root, "package.json"), "utf8")).peerDependenciesMeta);

/**
 * Makes declarations usable in the package: relative imports end in `.js`, and an optional peer dependency that is not
 * installed does not fail to compile, but makes its types `any`.
 */
function portable(text: string): string {
  const lines = text.split("\n").flatMap((line) => {
    const isOptional = optional.some((name) => line.startsWith("import ") && line.endsWith(` from "${name}";`));
    return isOptional ? ["// @ts-ignore: an optional peer dependency", line] : [line];
  });
  return lines
    .join("\n")
    .replace(imported, (all, before: string, to: string) =>
      to.startsWith(".") ? `${before}"${to.replace(/\.ts$/, ".js")}"` : all,
    );
}

/** Writes the declarations reachable from the heads into a folder. Errors: those of the compiler. */
function declare(folder: string): void {
  const raw = join(folder, "..", "raw");
  const tsc = join(root, "node_modules", ".bin", "tsc");
  const done = Bun.spawnSync([tsc, "-p", join(root, "tsconfig.types.json"), "--outDir", raw], { cwd: root });
  if (!done.success) throw new Error(`cannot write the types:\n${done.stdout}${done.stderr}`);
  const wanted = Object.keys(heads);
  const seen = new Set<string>();
  for (let file = wanted.shift(); file !== undefined; file = wanted.shift()) {
    if (seen.has(file)) continue;
    seen.add(file);
    const text = portable(readFileSync(join(raw, file), "utf8"));
    for (const [, , to = ""] of text.matchAll(imported)) {
      if (to.startsWith(".")) wanted.push(join(dirname(file), to).replace(/\.js$/, ".d.ts"));
    }
    mkdirSync(join(folder, dirname(file)), { recursive: true });
    writeFileSync(join(folder, file), `${heads[file] ?? ""}${text}`);
  }
  rmSync(raw, { recursive: true });
}

/** The licences of the packages whose code is in the bundles, found by their source maps. */
function licences(files: readonly string[]): string {
  const sources = files.flatMap((file) => {
    const map = JSON.parse(readFileSync(`${file}.map`, "utf8")) as { sources: string[] };
    return map.sources.map((path) => path.replace(/^unibus:\/\/\//, `${root}/`));
  });
  return `What the modules beside this file carry.\n\n${licencesText(npmParts(sources))}`;
}

/** All files below a folder, as relative paths. */
const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)));

/** Moves a folder's files over another's one by one, so that no reader finds one missing, then removes stale files. */
function place(from: string, to: string): void {
  const fresh = filesIn(from);
  for (const file of fresh) {
    mkdirSync(join(to, dirname(file)), { recursive: true });
    renameSync(join(from, file), join(to, file));
  }
  const stale = filesIn(to).filter((file) => !fresh.includes(file));
  for (const file of stale) rmSync(join(to, file), { force: true });
}

/** A built module: its path below the folder, and its size raw and gzipped, in bytes. */
export interface Built {
  readonly file: string;
  readonly bytes: number;
  readonly gzipBytes: number;
}

/**
 * Builds everything into a folder, or all but the type declarations, which take longer than the rest.
 * Errors: those of Bun and the compiler, and one for a bundle that is too large.
 */
export async function buildClient(dist: string = join(root, "dist"), { hasTypes = true } = {}): Promise<Built[]> {
  mkdirSync(dist, { recursive: true });
  const aside = mkdtempSync(join(dist, ".client-"));
  try {
    const files = await Promise.all(modules.map((one) => bundle({ ...one, folder: join(aside, "made", one.folder) })));
    if (hasTypes) declare(join(aside, "made", "types"));
    writeFileSync(join(aside, "made", "client", "LICENSES.txt"), licences(files));
    const built = files.map((path): Built => {
      const bytes = readFileSync(path);
      const file = relative(join(aside, "made"), path);
      return { file, bytes: bytes.length, gzipBytes: gzipSync(bytes, { level: 9 }).length };
    });
    const large = built.find(({ file, gzipBytes }) => file === "client/browser.js" && gzipBytes > browserBytesMax);
    if (large !== undefined)
      throw new Error(`${large.file} has ${large.gzipBytes} B compressed, at most ${browserBytesMax}`);
    for (const folder of readdirSync(join(aside, "made"))) place(join(aside, "made", folder), join(dist, folder));
    return built;
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

/** Lists the built modules, one per line. */
export function sizesOf(built: readonly Built[]): string {
  const kB = (bytes: number) => `${Math.round(bytes / 1_000)} kB`;
  return built.map(({ file, bytes, gzipBytes }) => `dist/${file}  ${kB(bytes)}, ${kB(gzipBytes)} gz`).join("\n");
}

if (import.meta.main) {
  try {
    console.log(sizesOf(await buildClient()));
  } catch (error) {
    console.error(`error: ${(error as Error).message}`);
    process.exit(1);
  }
}
