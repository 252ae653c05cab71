/** Checks a boot that is refused, as its user sees it. */
import { expect } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { type Folder, layNatsServer, unibus, until } from "../support/executable.ts";

/** `serve` on a data directory in the working folder, and on free ports. */
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

/** Whether a process is left whose command line or working directory contains the folder. */
export function isAnyLeft(folder: Folder): boolean {
  return readdirSync("/proc").some((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(folder.path);
    } catch {
      return false;
    }
  });
}

/** The one-line error of a refused `serve`. Fails unless it exits with 1 and leaves nothing behind. */
export async function refusal(
  folder: Folder,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<string> {
  layNatsServer(folder.file("data"));
  const done = await unibus(folder, [...serve, ...args], { env });
  const said = done.stderr.split("\n").filter((line) => line !== "" && !line.startsWith('{"level":'));
  expect(said).toHaveLength(1);
  const line = said[0] ?? "";
  expect(line).toMatch(/^error: .+ \(.+\)$/);
  expect(line).not.toMatch(/internal error|\n| {4}at |\.ts:\d/);
  // The error is printed only; it must not also be logged.
  expect(done.stderr).not.toMatch(/"level":(50|60)/);
  expect([done.code, done.stdout]).toEqual([1, ""]);
  await until("no process is left running", () => !isAnyLeft(folder));
  return line;
}
