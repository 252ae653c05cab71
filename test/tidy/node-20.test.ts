import { describe } from "bun:test";
import { codeIn, importsOf, judge, parsed, placeOf, type Rule, type SourceFile, type Tree, visit } from "./rules.ts";

/** Functions that came after Node 20, by the object that has them. */
const newer: Readonly<Record<string, readonly string[]>> = {
  Promise: ["withResolvers", "try"],
  Map: ["groupBy"],
  Object: ["groupBy"],
  Array: ["fromAsync"],
  Uint8Array: ["fromBase64", "fromHex"],
  Iterator: ["from", "concat"],
  RegExp: ["escape"],
  Error: ["isError"],
  Math: ["sumPrecise"],
};

/** The files of the published client, and what they import of `src/lib`. */
function clientFiles(tree: Tree): SourceFile[] {
  const files = new Set(codeIn(tree, "src/client/", "src/wire/"));
  // A set also visits what is added on the way.
  for (const file of files) {
    for (const { to } of importsOf(file)) {
      const imported = to.startsWith("src/lib/") ? tree.get(to) : undefined;
      if (imported !== undefined) files.add(imported);
    }
  }
  return [...files];
}

const oldNode: Rule = {
  name: "the client calls no function that Node 20 lacks",
  because: "package.json promises Node 20.3, and Bun, which runs these tests, has them all",
  check: (tree) =>
    clientFiles(tree).flatMap((file) => {
      const found: string[] = [];
      visit(parsed(file).program, (node) => {
        if (node.type !== "MemberExpression" || node.computed) return;
        const { object, property } = node;
        if (object.type !== "Identifier" || property.type !== "Identifier") return;
        if (!newer[object.name]?.includes(property.name)) return;
        found.push(`${placeOf(file, node.start)} ${object.name}.${property.name}`);
      });
      return found;
    }),
  bad: { "src/client/a.ts": 'import "../lib/b.ts";', "src/lib/b.ts": "const { promise } = Promise.withResolvers();" },
  good: {
    "src/client/a.ts": "const a = Promise.all([]);",
    "src/lib/b.ts": "Promise.withResolvers();",
    "src/kernel/a.ts": "Map.groupBy([], String);",
  },
};

describe("Node 20", () => judge(oldNode));
