/** Strings that two sides agree on, and exported constants, are defined once. */
import { describe } from "bun:test";
import { codeIn, judge, parsed, placeOf, type Rule, type SourceFile, visit } from "./rules.ts";

/** Prefixes of strings that both ends of a connection, or two versions of unibus, must agree on. */
const agreed = /^(unibus-[a-z0-9-]*-v[0-9]+|UNIBUS_[A-Z0-9_]*|_DELIVER|x-unibus-[a-z-]*)/i;

interface Found {
  readonly key: string;
  readonly file: SourceFile;
  readonly start: number;
}

/** Strings that are declared in more than one file, with each place. */
function repeated(found: readonly Found[]): string[] {
  const homes = new Map<string, Found>();
  const faults: string[] = [];
  for (const one of found) {
    const home = homes.get(one.key);
    if (home === undefined) homes.set(one.key, one);
    else if (home.file.path !== one.file.path) {
      faults.push(`${placeOf(one.file, one.start)} ${one.key} is at ${placeOf(home.file, home.start)}`);
    }
  }
  return faults;
}

function literalsOf(file: SourceFile): Found[] {
  const found: Found[] = [];
  visit(parsed(file).program, (node, parent) => {
    const isImport = parent?.type.startsWith("Import") || parent?.type.startsWith("Export");
    const isQuasi = node.type === "TemplateElement" && parent?.type === "TemplateLiteral" && parent.quasis[0] === node;
    const text = node.type === "Literal" ? node.value : isQuasi ? node.value.raw : null;
    const key = typeof text === "string" && !isImport ? agreed.exec(text)?.[0] : undefined;
    if (key !== undefined) found.push({ key, file, start: node.start });
  });
  return found;
}

function constantsOf(file: SourceFile): Found[] {
  const { program } = parsed(file);
  if (program.type !== "Program") return [];
  return program.body.flatMap((node) => {
    if (node.type !== "ExportNamedDeclaration" || node.declaration?.type !== "VariableDeclaration") return [];
    return node.declaration.declarations.flatMap((one) =>
      one.id.type === "Identifier" ? [{ key: one.id.name, file, start: one.start }] : [],
    );
  });
}

const texts: Rule = {
  name: "a string that both ends agree on is defined in one file",
  because: "changing one copy only breaks the network, not the build",
  check: (tree) => repeated(codeIn(tree, "src/").flatMap(literalsOf)),
  bad: {
    "src/a.ts": 'const a = "unibus-frame-v1";',
    "src/b.ts": "const b = (x: string) => `unibus-frame-v1\\n" + "$" + "{x}`;",
  },
  good: {
    "src/a.ts": 'const a = "UNIBUS_A"; const b = "UNIBUS_A"; const c = "see UNIBUS_B";',
    "src/b.ts": '"UNIBUS_B"',
  },
};

const names: Rule = {
  name: "an exported constant is defined once",
  because: "two with one name drift apart, and an editor imports the wrong one",
  check: (tree) => repeated(codeIn(tree, "src/").flatMap(constantsOf)),
  bad: { "src/a.ts": "export const limitMax = 1;", "src/b.ts": "export const limitMax = 2;" },
  good: {
    "src/a.ts": "export const A = 1; export type A = 1;",
    "src/b.ts": "const A = 2; export { B } from './c.ts';",
  },
};

describe("constants", () => {
  for (const rule of [texts, names]) judge(rule);
});
