/** Limits on the size of files, functions, lines and the kernel. */
import { describe } from "bun:test";
import type { Node } from "oxc-parser";
import { codeIn, isNode, judge, lineAt, parsed, type Rule, type SourceFile, visit } from "./rules.ts";

const fileLinesMax = 400;
const functionLinesMax = 70;
const columnsMax = 120;
const kernelLinesMax = 900;
const kernelHttpLinesMax = 1_000;

const code = ["src/", "test/", "bench/", "scripts/", "examples/"] as const;

const lineCount = (file: SourceFile) => file.lines.length - (file.text.endsWith("\n") ? 1 : 0);
const many = (count: number, line = "x();") => `${line}\n`.repeat(count);

const files: Rule = {
  name: "a file is short",
  because: "a file too long to keep in mind has more than one purpose",
  check: (tree) =>
    codeIn(tree, ...code)
      .filter((file) => lineCount(file) > fileLinesMax)
      .map((file) => `${file.path} has ${lineCount(file)} lines, at most ${fileLinesMax}`),
  bad: { "test/a.ts": many(fileLinesMax + 1) },
  good: { "test/a.ts": many(fileLinesMax) },
};

const bodies = new Set(["FunctionDeclaration", "FunctionExpression", "ArrowFunctionExpression"]);

const nameOf = (parent: Node | null): string => {
  const named = parent as unknown as { id?: Node; key?: Node } | null;
  const name = named?.id ?? named?.key;
  return isNode(name) && name.type === "Identifier" ? name.name : "a function";
};

const functions: Rule = {
  name: "a function is short",
  because: "control flow that needs scrolling hides its branches",
  check: (tree) =>
    codeIn(tree, "src/").flatMap((file) => {
      const found: string[] = [];
      visit(parsed(file).program, (node, parent) => {
        if (!bodies.has(node.type)) return;
        const first = lineAt(file, node.start);
        const length = lineAt(file, node.end - 1) - first + 1;
        if (length <= functionLinesMax) return;
        const name = node.type === "FunctionDeclaration" ? nameOf(node) : nameOf(parent);
        found.push(`${file.path}:${first} ${name} has ${length} lines, at most ${functionLinesMax}`);
      });
      return found;
    }),
  bad: { "src/a.ts": `const a = {\n  run() {\n${many(functionLinesMax - 1)}},\n};` },
  good: { "src/a.ts": `const run = () => {\n${many(functionLinesMax - 2)}};` },
};

/** Columns of each line that strings, templates or URLs occupy, which cannot be wrapped. */
function unbreakable(file: SourceFile): Map<number, number> {
  const columns = new Map<number, number>();
  const add = (line: number, count: number) => columns.set(line, (columns.get(line) ?? 0) + count);
  visit(parsed(file).program, (node) => {
    const isText = node.type === "Literal" ? typeof node.value === "string" : node.type === "TemplateElement";
    if (!isText && !(node.type === "Literal" && "regex" in node)) return;
    const first = lineAt(file, node.start);
    const pieces = file.text.slice(node.start, node.end).split("\n");
    for (const [i, piece] of pieces.entries()) add(first + i, piece.length);
  });
  for (const [i, text] of file.lines.entries()) {
    for (const url of text.match(/https?:\/\/\S+/g) ?? []) add(i + 1, columns.has(i + 1) ? 0 : url.length);
  }
  return columns;
}

const columns: Rule = {
  name: "a line is short",
  because: "two files then fit next to each other",
  check: (tree) =>
    codeIn(tree, ...code).flatMap((file) => {
      const long = file.lines.flatMap((text, i) => (text.length > columnsMax ? [i + 1] : []));
      if (long.length === 0) return [];
      const fixed = unbreakable(file);
      return long
        .filter((line) => (file.lines[line - 1] ?? "").length - (fixed.get(line) ?? 0) > columnsMax)
        .map((line) => `${file.path}:${line} has more than ${columnsMax} columns`);
    }),
  bad: { "src/a.ts": `${"abc + ".repeat(30)}1;`, "src/b.ts": `// ${"word ".repeat(30)}` },
  good: { "src/a.ts": `const a = "${"x".repeat(130)}";`, "src/b.ts": `// See https://example.com/${"x".repeat(130)}` },
};

const kernel: Rule = {
  name: "the kernel is small",
  because: "everything that can be a plugin should be one",
  check: (tree) => {
    const total = (isHttp: boolean) =>
      codeIn(tree, "src/kernel/")
        .filter((file) => file.path.startsWith("src/kernel/http") === isHttp)
        .reduce((sum, file) => sum + lineCount(file), 0);
    const fault = (name: string, lines: number, max: number) =>
      lines > max ? [`src/kernel: ${name} has ${lines} lines, at most ${max}`] : [];
    return [
      ...fault("everything except http*.ts", total(false), kernelLinesMax),
      ...fault("http*.ts", total(true), kernelHttpLinesMax),
    ];
  },
  bad: { "src/kernel/a.ts": many(450), "src/kernel/b.ts": many(451) },
  good: { "src/kernel/a.ts": many(450), "src/kernel/http.ts": many(451) },
};

describe("sizes", () => {
  for (const rule of [files, functions, columns, kernel]) judge(rule);
});
