/** The mutants of `npm run soak -- mutants` stay applicable as the source changes. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { mutants } from "../../scripts/mutants/index.ts";
import { mutated } from "../../scripts/mutants/mutant.ts";

const root = join(import.meta.dir, "..", "..");
const read = (file: string): string => readFileSync(join(root, file), "utf8");

/** The text of a test file, with the suite that it runs. */
function textOfTests(file: string): string {
  const folder = "test/conformance";
  const suite = file.startsWith(`${folder}/`) ? readdirSync(join(root, folder)).map((name) => `${folder}/${name}`) : [];
  return [file, ...suite].map(read).join("\n");
}

/** The reason why `npm run soak -- mutants` would fail on a mutant. */
function faultOf(mutant: (typeof mutants)[number]): string | null {
  try {
    mutated(read(mutant.file), mutant);
  } catch (error) {
    return (error as Error).message;
  }
  if (mutant.held.length === 0) return `${mutant.name}: no test holds it`;
  for (const { file, test: names } of mutant.held) {
    if (!existsSync(join(root, file))) return `${mutant.name}: there is no ${file}`;
    // Each alternative must be part of a test name in the source text.
    const absent = (names ?? "").split("|").find((name) => !textOfTests(file).includes(name));
    if (absent !== undefined) return `${mutant.name}: ${file} has no test "${absent}"`;
  }
  return null;
}

test("every mutant still edits exactly one place of the source, and names existing tests", () => {
  expect(mutants.map(faultOf).filter((fault) => fault !== null)).toEqual([]);
});

test("mutants have unique names", () => {
  const names = mutants.map(({ name }) => name);
  expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([]);
});
