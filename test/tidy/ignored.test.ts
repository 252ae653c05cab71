/** The linter leaves alone what git ignores, such as the data of a bus that was started in this folder. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(import.meta.dir, "ignored-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Whether the linter complains about an unformatted file in a folder of this name. */
async function isChecked(name: string): Promise<boolean> {
  const file = join(folder, name, "a.json");
  mkdirSync(join(folder, name));
  writeFileSync(file, '{"a":1}\n');
  const command = [join(root, "node_modules/.bin/biome"), "check", "--no-errors-on-unmatched", file];
  return (await Bun.spawn(command, { cwd: root, stdout: "ignore", stderr: "ignore" }).exited) !== 0;
}

test.each(["unibus-data", "dist", "coverage"])("%s is not checked", async (name) => {
  expect(await isChecked(name)).toBe(false);
});
