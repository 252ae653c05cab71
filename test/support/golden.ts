import { expect } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const folder = join(import.meta.dir, "..", "golden");

/** Returns a golden file, as text. */
export function golden(name: string): string {
  return readFileSync(join(folder, name), "utf8");
}

/** Compares a text with a golden file. UPDATE_GOLDEN=1 writes the file instead: say why in the commit. */
export function expectGolden(name: string, text: string): void {
  const file = join(folder, name);
  if (process.env.UPDATE_GOLDEN === "1") writeFileSync(file, text);
  if (!existsSync(file)) throw new Error(`test/golden/${name} is missing (UPDATE_GOLDEN=1 writes it)`);
  expect(text).toBe(readFileSync(file, "utf8"));
}
