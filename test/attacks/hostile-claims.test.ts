/** The threat model names the tests that show what it claims: they are there, and no claim is without one. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "..", "..");
const text = readFileSync(join(root, "docs", "threat-model.md"), "utf8");

/** The points under a heading, each as one line. */
function pointsOf(heading: string): string[] {
  const part = text.split(/^## /m).find((one) => one.startsWith(`${heading}\n`));
  if (part === undefined) throw new Error(`docs/threat-model.md has no heading "${heading}"`);
  return part
    .split(/^- /m)
    .slice(1)
    .map((point) => point.replace(/\s+/g, " "));
}

const testsIn = (point: string) => [...point.matchAll(/`(test\/[\w/.-]+)`/g)].map(([, path]) => path ?? "");

test("whatever the threat model calls impossible names a test that tries it", () => {
  for (const heading of ["What a hostile server cannot do", "What a hostile peer cannot do"]) {
    const points = pointsOf(heading);
    expect(points.length).toBeGreaterThan(5);
    expect(points.filter((point) => testsIn(point).length === 0)).toEqual([]);
  }
});

test("the tests that it names are there", () => {
  const named = testsIn(text);
  expect(named.length).toBeGreaterThan(20);
  expect(named.filter((path) => !existsSync(join(root, path)))).toEqual([]);
});

test("it says what is not detected", () => {
  expect(pointsOf("What is not detected, and what this cannot give").length).toBeGreaterThan(8);
});
