/** Every export has a doc comment, and no check is switched off without a reason. */
import { describe } from "bun:test";
import type { Node } from "oxc-parser";
import { codeIn, judge, parsed, placeOf, type Rule, type SourceFile, visit } from "./rules.ts";

const code = ["src/", "test/", "bench/", "scripts/", "examples/"] as const;

/** The doc comment directly before an offset, without its stars, or null. */
function docBefore(file: SourceFile, offset: number): string | null {
  const comment = parsed(file).comments.findLast((one) => one.end <= offset);
  if (comment === undefined || comment.type !== "Block" || !comment.value.startsWith("*")) return null;
  if (file.text.slice(comment.end, offset).trim() !== "") return null;
  return comment.value
    .slice(1)
    .split("\n")
    .map((line) => line.replace(/^\s*\*\s?/, ""))
    .join("\n")
    .trim();
}

interface Export {
  readonly name: string;
  readonly start: number;
}

function exportsOf(file: SourceFile): Export[] {
  const program = parsed(file).program;
  if (program.type !== "Program") return [];
  const overloads = new Set<string>();
  return program.body.flatMap((node): Export[] => {
    if (node.type === "ExportDefaultDeclaration") return [{ name: "default", start: node.start }];
    if (node.type !== "ExportNamedDeclaration" || !node.declaration) return [];
    const names = namesOf(node.declaration);
    if (node.declaration.type.includes("Function")) {
      const first = names.filter((name) => !overloads.has(name));
      for (const name of names) overloads.add(name);
      return first.map((name) => ({ name, start: node.start }));
    }
    return names.map((name) => ({ name, start: node.start }));
  });
}

function namesOf(declaration: Node): string[] {
  if (declaration.type === "VariableDeclaration") {
    return declaration.declarations.map((one) => (one.id.type === "Identifier" ? one.id.name : "a pattern"));
  }
  const { id } = declaration as unknown as { id?: { name?: string } };
  return [id?.name ?? declaration.type];
}

/** Whether a text contains a sentence: words and an end. */
const hasSentence = (text: string) => /\w[^.:;?]*[.:;?](\s|$)/.test(text);

const docComments: Rule = {
  name: "every export has a doc comment",
  because: "the first sentence is what a reader and an editor show",
  check: (tree) =>
    codeIn(tree, "src/")
      .filter((file) => !file.path.endsWith(".d.ts"))
      .flatMap((file) =>
        exportsOf(file).flatMap(({ name, start }) => {
          const doc = docBefore(file, start);
          if (doc === null) return [`${placeOf(file, start)} ${name} has no doc comment`];
          return hasSentence(doc) ? [] : [`${placeOf(file, start)} the comment of ${name} is not a sentence`];
        }),
      ),
  bad: {
    "src/a.ts": "// A note.\nexport const a = 1;",
    "src/b.ts": "/** TBD */\nexport type B = 1;",
    "src/c.ts": "/** A file's head. */\nimport './a.ts';\nexport default {};",
  },
  good: {
    "src/a.ts":
      "/** The first letter. */\nexport function a(): void;\nexport function a(x?: 1) {}\nexport * from './b.ts';",
    "src/b.ts": "/**\n * The second letter.\n * More.\n */\nexport interface B {}\nconst own = 1;",
  },
};

const leftovers: Rule = {
  name: "no comment is a TODO",
  because: "open work belongs in an issue, where it is seen",
  check: (tree) =>
    codeIn(tree, ...code).flatMap((file) =>
      parsed(file)
        .comments.filter((comment) => /\b(TODO|FIXME|XXX|HACK)\b/.test(comment.value))
        .map((comment) => `${placeOf(file, comment.start)} ${comment.value.trim()}`),
    ),
  bad: { "src/a.ts": "// TODO: later" },
  good: { "src/a.ts": 'export const a = "TODO";' },
};

/** A directive, and the reason of at least three words that must follow it. */
const directives: readonly (readonly [RegExp, RegExp | null])[] = [
  [/^\s*@ts-(ignore|nocheck)/, null],
  [/^\s*@ts-expect-error/, /^\s*@ts-expect-error:?\s+\S+\s+\S+\s+\S+/],
  [/^\s*biome-ignore/, /^\s*biome-ignore\S*\s+\S+:\s+\S+\s+\S+\s+\S+/],
];

const silenced: Rule = {
  name: "no check is switched off without a reason",
  because: "the next reader cannot tell whether it is still needed",
  check: (tree) =>
    codeIn(tree, ...code).flatMap((file) =>
      parsed(file)
        .comments.filter(({ value }) => {
          const found = directives.find(([directive]) => directive.test(value));
          return found !== undefined && (found[1] === null || !found[1].test(value));
        })
        .map((comment) => `${placeOf(file, comment.start)} ${comment.value.trim()}`),
    ),
  bad: { "src/a.ts": "// @ts-ignore because I said so\nx();", "src/b.ts": "// biome-ignore lint/a/b: ok\nx();" },
  good: { "src/a.ts": "// biome-ignore lint/a/b: the library mistypes this\nx();\n// Speaks of @ts-ignore." },
};

const untyped: Rule = {
  name: "nothing has the type any",
  because: "any switches off type checks for every value it touches",
  check: (tree) =>
    codeIn(tree, ...code).flatMap((file) => {
      const allowed = parsed(file).comments.filter((comment) => comment.value.includes("biome-ignore"));
      const found: string[] = [];
      visit(parsed(file).program, (node) => {
        if (node.type !== "TSAnyKeyword") return;
        const place = placeOf(file, node.start);
        const line = Number(place.split(":").at(-1));
        const isAllowed = allowed.some((comment) => placeOf(file, comment.end) === `${file.path}:${line - 1}`);
        if (!isAllowed) found.push(place);
      });
      return found;
    }),
  bad: { "src/a.ts": "export const a = (b: unknown) => b as any;" },
  good: { "src/a.ts": "// any\n// biome-ignore lint/x/y: the library wants it\nconst a: any = 1;" },
};

/** What a comment names as its source: documents, separated by commas. */
const sourceIn = (comment: string) => /\bSource:\s+([^\n]*)/.exec(comment)?.[1] ?? null;

const sources: Rule = {
  name: "a document that a source names is in this repository",
  because: "a reader cannot follow a reference to a document that is not here",
  check: (tree) =>
    codeIn(tree, ...code).flatMap((file) =>
      parsed(file).comments.flatMap((comment) => {
        const source = sourceIn(comment.value);
        if (source === null) return [];
        const named = [...source.matchAll(/docs\/[\w/.-]*\w/g)].map(([path]) => path);
        return named.some((path) => !tree.has(path)) ? [`${placeOf(file, comment.start)} Source: ${source}`] : [];
      }),
    ),
  bad: { "src/a.ts": "/** One. Source: docs/none.md. */\nx();" },
  good: { "src/a.ts": "/** One. Source: docs/one.md, docs/one.md. */\nx();\n// Source: RFC 8032.", "docs/one.md": "" },
};

describe("docs", () => {
  for (const rule of [sources, docComments, leftovers, silenced, untyped]) judge(rule);
});
