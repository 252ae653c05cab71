/** A boot that is refused, as its user sees it. */
import { expect } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { type Folder, unibus, until } from "../support/executable.ts";

/** `serve` on a data directory of the working folder, and on free ports. */
export const serve = [
  "serve",
  "--data",
  "data",
  "--http",
  "127.0.0.1:0",
  "--nats",
  "127.0.0.1:0",
  "--ws",
  "127.0.0.1:0",
];

/** Whether a process whose command line or working directory names the folder still runs. */
export function isAnyLeft(folder: Folder): boolean {
  return readdirSync("/proc").some((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(folder.path);
    } catch {
      return false;
    }
  });
}

/** What `serve` says when it refuses: one line beside the log. Fails unless it ends by exit 1 and leaves nothing. */
export async function refusal(
  folder: Folder,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<string> {
  const done = await unibus(folder, [...serve, ...args], { env });
  const said = done.stderr.split("\n").filter((line) => line !== "" && !line.startsWith('{"level":'));
  expect(said).toHaveLength(1);
  const line = said[0] ?? "";
  expect(line).toMatch(/^error: .+ \(.+\)$/);
  expect(line).not.toMatch(/internal error|\n| {4}at |\.ts:\d/);
  // What is told as the error is not told as a line of the log, too.
  expect(done.stderr).not.toMatch(/"level":(50|60)/);
  expect([done.code, done.stdout]).toEqual([1, ""]);
  await until("nothing is left running", () => !isAnyLeft(folder));
  return line;
}
