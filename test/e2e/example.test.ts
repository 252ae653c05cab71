/** The example examples/first-room.ts succeeds, and examples/README.md shows its actual output. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { executable } from "../support/executable.ts";

const root = join(import.meta.dir, "..", "..");

/** Lines without the parts that differ between runs: ports, pids, and the shortened ids and keys. */
const linesOf = (text: string): string[] =>
  text
    .replace(/127\.0\.0\.1:\d+/g, "ADDRESS")
    .replace(/^(\$ kill -\w+) \d+$/gm, "$1 PID")
    .replace(/\S{8}…/g, "ID")
    .replace(/^( {2}fingerprint {2})[a-z ]+$/gm, "$1WORDS")
    .trim()
    .split("\n");

const transcriptOf = (markdown: string): string =>
  [...markdown.matchAll(/^```\w*\n(.*?)^```$/gms)].map(([, text]) => text ?? "").find((text) => /^GET /m.test(text)) ??
  "";

test("the first-room example succeeds, and its page shows its output", async () => {
  const example = join(root, "examples", "first-room.ts");
  const child = Bun.spawn([process.execPath, example, executable], { stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(linesOf(stdout)).toEqual(linesOf(transcriptOf(readFileSync(join(root, "examples", "README.md"), "utf8"))));
}, 60_000);
