/** The tests that the threat model names exist, and every claim names one. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "..", "..");
const text = readFileSync(join(root, "docs", "threat-model.md"), "utf8");

/** The bullet points under a heading, each as one line. */
function pointsOf(heading: string): string[] {
  const part = text.split(/^## /m).find((one) => one.startsWith(`${heading}\n`));
  if (part === undefined) throw new Error(`docs/threat-model.md has no heading "${heading}"`);
  return part
    .split(/^- /m)
    .slice(1)
    .map((point) => point.replace(/\s+/g, " "));
}

/** The sections in which every point is a promise. */
const promises = ["What a hostile server cannot do", "What a hostile peer cannot do", "What a stranger cannot do"];

const testsIn = (point: string) => [...point.matchAll(/`(test\/[\w/.-]+)`/g)].map(([, path]) => path ?? "");

test("every attack that the threat model calls impossible names a test that tries it", () => {
  for (const heading of promises) {
    const points = pointsOf(heading);
    expect(points.length).toBeGreaterThan(5);
    // A promise must end with the test that proves it, so that no later sentence is untested.
    expect(points.filter((point) => !/`test\/[^`]+`\)\.\s*$/.test(point))).toEqual([]);
  }
});

test("the tests that it names exist", () => {
  const named = testsIn(text);
  expect(named.length).toBeGreaterThan(20);
  expect(named.filter((path) => !existsSync(join(root, path)))).toEqual([]);
});

test("it states what is not detected", () => {
  const limits = pointsOf("What is not detected, and what this cannot give");
  expect(limits.length).toBeGreaterThan(8);
  expect(limits.filter((point) => point.includes("Users are not asked before they are added to a room"))).toHaveLength(
    1,
  );
});

test("every test of an attack is named in the threat model", () => {
  const attacks = readdirSync(join(root, "test", "attacks"))
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => `test/attacks/${name}`);
  const named = new Set(testsIn(text));
  expect(attacks.filter((path) => !named.has(path))).toEqual([]);
});
