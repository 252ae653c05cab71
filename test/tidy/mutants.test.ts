import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { mutants } from "../../scripts/mutants/index.ts";
import { mutated } from "../../scripts/mutants/mutant.ts";

const root = join(import.meta.dir, "..", "..");
const read = (file: string): string => readFileSync(join(root, file), "utf8");

/** What `npm run soak -- mutants` would stumble over. */
function faultOf(mutant: (typeof mutants)[number]): string | null {
  try {
    mutated(read(mutant.file), mutant);
  } catch (error) {
    return (error as Error).message;
  }
  if (mutant.held.length === 0) return `${mutant.name}: no test holds it`;
  const absent = mutant.held.find(({ file }) => !existsSync(join(root, file)));
  return absent === undefined ? null : `${mutant.name}: there is no ${absent.file}`;
}

test("every mutant still edits exactly one place of the source, and names tests that exist", () => {
  expect(mutants.map(faultOf).filter((fault) => fault !== null)).toEqual([]);
});

test("mutants have unique names", () => {
  const names = mutants.map(({ name }) => name);
  expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([]);
});
