/** How long each test file takes, so that `npm test` starts the longest first: a run then ends with short ones. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const file = join(import.meta.dir, "..", "test", "timings.json");
/** Only files that take at least this long are recorded, in milliseconds. */
const recordedMsMin = 5_000;
/** How long a file takes that is not recorded, in milliseconds. */
const otherMs = 1_000;

const known: Readonly<Record<string, number>> = JSON.parse(readFileSync(file, "utf8")).files;

/** Sorts test files, those that took longest first. */
export function longestFirst(files: readonly string[]): string[] {
  return files.toSorted((a, b) => (known[b] ?? otherMs) - (known[a] ?? otherMs));
}

/** Writes the times of all files for `bun test --timings`, which would start first those that it does not know. */
export function writeTimings(to: string, files: readonly string[]): void {
  const times = Object.fromEntries(files.map((name) => [name, known[name] ?? otherMs]));
  writeFileSync(to, JSON.stringify({ version: 1, files: times }));
}

/** Records the times of a run of all files, in milliseconds. */
export function recordTimings(times: ReadonlyMap<string, number>): void {
  const long = [...times].filter(([, ms]) => ms >= recordedMsMin).sort(([a], [b]) => (a < b ? -1 : 1));
  const files = Object.fromEntries(long.map(([name, ms]) => [name, Math.round(ms / 1_000) * 1_000]));
  writeFileSync(file, `${JSON.stringify({ version: 1, files }, null, 2)}\n`);
}
