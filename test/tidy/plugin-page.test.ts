/**
 * docs/write-a-plugin.md names what a plugin author needs: every service token with the plugins that provide it, and
 * every group of the conformance suite.
 */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "..", "..");
const page = readFileSync(join(root, "docs", "write-a-plugin.md"), "utf8");

/** The code files of a folder, by path, including those in folders below. */
const codeIn = (folder: string): readonly string[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => readFileSync(join(root, folder, name), "utf8"));

const found = (texts: readonly string[], pattern: RegExp): string[] =>
  texts.flatMap((text) => [...text.matchAll(pattern)].map(([, name = ""]) => name));

test("the table of services has every token of the contracts", () => {
  const tokens = found(codeIn("src/contracts"), /^export const (\w+) = token</gm);
  const [table = ""] = /^\| Token .*?\n\n/ms.exec(page) ?? [];
  const named = found(
    table.split("\n").map((row) => row.split(" | ")[0] ?? ""),
    /`(\w+)`/g,
  );
  expect(tokens.length).toBeGreaterThan(10);
  expect(named.sort()).toEqual(tokens.sort());
});

test("the groups of the conformance suite are named", () => {
  const groups = found(codeIn("test/conformance"), /^ {2}describe\("([a-z ]+)"/gm);
  expect(groups.length).toBeGreaterThan(5);
  expect(groups.filter((group) => !page.replaceAll("\n", " ").includes(`\`${group}\``))).toEqual(["a restoration"]);
});
