/**
 * Reads the source of unibus for the rules in this folder: files, syntax trees and imports. A rule is a function from a
 * tree of files to findings; `judge` tests it on the project and on a bad and a good sample.
 */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { type Comment, type Node, parseSync, visitorKeys } from "oxc-parser";

/** One file. Its path is relative to the root, with `/`. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
  readonly lines: readonly string[];
}

/** One import. `to` is a path from the root, a package name, `node:`, or `bun`. */
export interface Import {
  readonly to: string;
  /** The specifier as written. */
  readonly specifier: string;
  readonly isPackage: boolean;
  /** A type-only import, which is erased at run time. */
  readonly isType: boolean;
}

/** All files of the project, or of a sample. */
export type Tree = ReadonlyMap<string, SourceFile>;

/** Files by path, as a rule's sample lists them. */
export type Sample = Readonly<Record<string, string>>;

/** A rule: `check` returns violations as `path:line what`, and `bad` is a sample that must violate it. */
export interface Rule {
  readonly name: string;
  readonly because: string;
  readonly check: (tree: Tree) => string[];
  readonly bad: Sample;
  /** A sample similar to the bad one that must pass. */
  readonly good?: Sample;
}

const root = join(import.meta.dir, "..", "..");

/** Builds a tree from texts. */
export function treeOf(sample: Sample): Tree {
  const files = Object.entries(sample).map(([path, text]): SourceFile => ({ path, text, lines: text.split("\n") }));
  return new Map(files.map((file) => [file.path, file]));
}

function ignored(): { folders: Set<string>; endings: string[] } {
  const lines = readFileSync(join(root, ".gitignore"), "utf8").split("\n").filter(Boolean);
  const folders = lines.map((line) => line.replace(/^\/|\/$/g, ""));
  return {
    folders: new Set([".git", ...folders]),
    endings: lines.filter((line) => line.startsWith("*.")).map((line) => line.slice(1)),
  };
}

const textEndings = /\.(ts|tsx|mjs|cjs|js|json|md|sql|toml|ya?ml|html|css|go|mod|sh|txt|service|conf)$/;
const bareNames = /(^|\/)(Dockerfile|LICENSE|\.[a-z]+rc|\.gitignore|\.dockerignore)$/;

function readProject(): Tree {
  const skip = ignored();
  const sample: Record<string, string> = {};
  const walk = (folder: string): void => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (skip.folders.has(entry.name) || skip.endings.some((ending) => path.endsWith(ending))) continue;
      if (entry.isDirectory()) walk(path);
      else if (textEndings.test(path) || bareNames.test(path)) sample[path] = readFileSync(join(root, path), "utf8");
    }
  };
  walk("");
  return treeOf(sample);
}

let project: Tree | undefined;

/** The project's own files, without those that .gitignore names. */
export function projectTree(): Tree {
  project ??= readProject();
  return project;
}

/** The code files below some folders. */
export function codeIn(tree: Tree, ...folders: string[]): SourceFile[] {
  return [...tree.values()].filter(
    (file) => /\.(ts|tsx|mjs)$/.test(file.path) && folders.some((folder) => file.path.startsWith(folder)),
  );
}

interface Parsed {
  readonly program: Node;
  readonly comments: readonly Comment[];
  readonly errors: readonly string[];
}

const parsedFiles = new WeakMap<SourceFile, Parsed>();

/** The syntax tree and the comments of a file. */
export function parsed(file: SourceFile): Parsed {
  const known = parsedFiles.get(file);
  if (known !== undefined) return known;
  const result = parseSync(file.path, file.text);
  const errors = result.errors.map((error) => error.message);
  const made = { program: result.program as Node, comments: result.comments, errors };
  parsedFiles.set(file, made);
  return made;
}

/** Whether a value is a node of a syntax tree. */
export function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value && "start" in value;
}

/** Calls `see` for a node and all its descendants, with their parents. */
export function visit(node: Node, see: (node: Node, parent: Node | null) => void, parent: Node | null = null): void {
  see(node, parent);
  for (const key of visitorKeys[node.type] ?? []) {
    const child: unknown = (node as unknown as Record<string, unknown>)[key];
    for (const one of Array.isArray(child) ? child : [child]) if (isNode(one)) visit(one, see, node);
  }
}

/** The line of an offset, counted from 1. */
export function lineAt(file: SourceFile, offset: number): number {
  let line = 1;
  for (let i = file.text.indexOf("\n"); i !== -1 && i < offset; i = file.text.indexOf("\n", i + 1)) line++;
  return line;
}

/** `path:line`. */
export function placeOf(file: SourceFile, offset: number): string {
  return `${file.path}:${lineAt(file, offset)}`;
}

const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  readonly imports?: Readonly<Record<string, Readonly<Record<string, string>>>>;
};

/** What a specifier resolves to: itself, or each file that package.json maps it to under some condition. */
export function targetsOf(file: SourceFile, specifier: string): string[] {
  if (specifier.startsWith(".")) return [normalize(join(dirname(file.path), specifier)).replaceAll("\\", "/")];
  return Object.values(manifest.imports?.[specifier] ?? { itself: specifier }).map((path) => path.replace(/^\.\//, ""));
}

function importOf(specifier: string, to: string, isType: boolean): Import {
  if (/^[.#]/.test(specifier)) return { to, specifier, isPackage: false, isType };
  if (specifier.startsWith("node:")) return { to: "node:", specifier, isPackage: false, isType };
  if (specifier === "bun" || specifier.startsWith("bun:")) return { to: "bun", specifier, isPackage: false, isType };
  const name = specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
  const own = name === "unibus";
  return { to: own ? specifier : name, specifier, isPackage: !own, isType };
}

const importLists = new WeakMap<SourceFile, Import[]>();

/** All imports of a file: statements, re-exports, and `import()` and `import("x").T` with a constant. */
export function importsOf(file: SourceFile): Import[] {
  const known = importLists.get(file);
  if (known !== undefined) return known;
  const found: Import[] = [];
  const add = (source: Node | null, isType: boolean): void => {
    if (source?.type === "Literal" && typeof source.value === "string") {
      const specifier = source.value;
      found.push(...targetsOf(file, specifier).map((to) => importOf(specifier, to, isType)));
    }
  };
  visit(parsed(file).program, (node) => {
    if (node.type === "ImportDeclaration") add(node.source, node.importKind === "type");
    else if (node.type === "ExportAllDeclaration") add(node.source, node.exportKind === "type");
    else if (node.type === "ExportNamedDeclaration") add(node.source, node.exportKind === "type");
    else if (node.type === "ImportExpression") add(node.source, false);
    else if (node.type === "TSImportType") add(node.source, true);
  });
  importLists.set(file, found);
  return found;
}

/** Tests a rule: it holds for the project, reports the bad sample, and accepts the good one. */
export function judge(rule: Rule): void {
  test(rule.name, () => {
    const found = rule.check(projectTree());
    if (found.length > 0) throw new Error(`${rule.name}, because ${rule.because}:\n  ${found.join("\n  ")}`);
  });
  test(`${rule.name}: detects a bad sample`, () => {
    expect(rule.check(treeOf(rule.bad))).not.toEqual([]);
    expect(rule.check(treeOf(rule.good ?? {}))).toEqual([]);
  });
}
