/**
 * `npm test`: types, lint, build, then every test. Ends with `N passed, N failed`, from the runner's own report.
 * `--quick` skips everything that needs the executable (`bun run check`); `--update-timings` records how long each file
 * took in `test/timings.json`.
 */
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { build } from "./build.ts";
import { natsServer } from "./nats-server.ts";
import { endSessionsOnSignals, runInSession } from "./sessions.ts";
import { longestFirst, recordTimings, writeTimings } from "./timings.ts";

const root = join(import.meta.dir, "..");
const report = (run: string) => join(root, ".cache", `junit-${run}-${process.pid}.xml`);
const timingsOf = (run: string) => join(root, ".cache", `timings-${run}-${process.pid}.json`);
const bin = (name: string) => join(root, "node_modules", ".bin", name);
const isQuick = process.argv.includes("--quick");

/** Test folders that need the executable, or are slow for another reason. */
const slow = ["e2e", "attacks", "faults", "fuzz", "sdk", "interop"];
const quick = [
  ...["lib", "wire", "contracts", "nats", "properties", "kernel", "plugins", "client", "cli", "conformance", "tidy"],
];
/**
 * Tests that start several servers run one at a time beside the others: they mostly wait for elections. The last line
 * of this list and of the next are long files that let all runners end at about the same time.
 */
const alone = [
  ...["e2e/cluster", "e2e/gapless", "e2e/migrate", "attacks/replay-on-another-node"],
  ...["faults/cluster-", "faults/chaos/", "faults/store-kv-conformance", "faults/store-kv-quorum"],
  ...["faults/room-change-fault-injection", "sdk/node", "sdk/chromium"],
];
/** Tests that mostly wait until something has passed its time limit. One at a time runs beside the others, too. */
const waiting = [
  ...["attacks/body-before-auth", "attacks/frames-live", "attacks/login-quotas", "attacks/slow-loris"],
  ...["attacks/hostile-member", "e2e/durables", "e2e/text-inputs", "e2e/way-back", "faults/client-reader"],
  ...["faults/client-send", "faults/outage", "faults/start-many-rooms", "interop/storm", "kernel/http-body"],
  ...["e2e/npm-package", "interop/stock"],
];

/** The test files of some folders, sorted by name. */
function testsIn(folders: readonly string[]): string[] {
  const all = folders.flatMap((folder) => [...new Bun.Glob(`test/${folder}/**/*.test.ts`).scanSync(root)]);
  return all.map((file) => file.replaceAll("\\", "/")).sort();
}

/** Default timeout of a test, in milliseconds. It only ends tests that hang, and measures no performance. */
const testTimeoutMs = 60_000;

/** Runs a step and prints its output at the end, because steps run in parallel. Returns the exit code. */
async function step(name: string, command: readonly string[], env: Record<string, string> = {}): Promise<number> {
  const began = performance.now();
  const { code, output } = await runInSession(command, { cwd: root, env: { ...process.env, ...env } });
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(`== ${name}: ${code === 0 ? "ok" : `exit ${code}`} in ${seconds} s\n${output}`.trimEnd());
  return code;
}

/** The text of a file, or null if it cannot be read. */
function safeRead(file: string): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return null;
  }
}

/** Number of slowest test files that a run lists. */
const slowestCount = 12;

/** Reads the counts from the runner's report. A missing report, or one without tests, counts as a failure. */
function counted(file: string): { passed: number; failed: number } {
  const text = safeRead(file) ?? "";
  const head = /<testsuites[^>]*>/.exec(text)?.[0] ?? "";
  const number = (name: string) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
  const [tests, failures, skipped] = [number("tests"), number("failures") + number("errors"), number("skipped")];
  if (skipped > 0) console.log(`${skipped} tests were skipped, which counts as failed`);
  return { passed: tests - failures - skipped, failed: failures + skipped };
}

const bad: string[] = [];
const gate = async (name: string, command: readonly string[]): Promise<void> => {
  if ((await step(name, command)) !== 0) bad.push(name);
};

/** Compiles the executable. Returns its path, or null on failure. */
async function compile(): Promise<string | null> {
  try {
    return await build();
  } catch (error) {
    console.error(`error: ${(error as Error).message}`);
    bad.push("build");
    return null;
  }
}

interface Run {
  readonly name: string;
  /** How many test files run concurrently. */
  readonly atOnce: number;
  readonly files: readonly string[];
}

/** Milliseconds that each test file took, over all runs. */
const times = new Map<string, number>();

/** Notes the times of a report's test files. Lists the slowest, to show what to speed up next. */
function slowest(file: string): string {
  const suites = [...(safeRead(file) ?? "").matchAll(/<testsuite name="([^"]+\.test\.ts)"[^>]* time="([\d.]+)"/g)];
  const took = suites.map(([, name = "", time = "0"]) => ({ name, seconds: Number(time) }));
  for (const { name, seconds } of took) times.set(name, seconds * 1_000);
  const longest = took.sort((a, b) => b.seconds - a.seconds).slice(0, slowestCount);
  return longest.map(({ name, seconds }) => `  ${seconds.toFixed(1).padStart(6)} s  ${name}`).join("\n");
}

/** Runs test files and returns the counts of the runner's report. */
async function runTests({ name, atOnce, files }: Run, executable: string): Promise<{ passed: number; failed: number }> {
  if (files.length === 0) return { passed: 0, failed: 0 };
  const options = [`--parallel=${atOnce}`, `--timeout=${testTimeoutMs}`, "--only-failures", "--reporter=junit"];
  writeTimings(timingsOf(name), files);
  const outputs = [`--reporter-outfile=${report(name)}`, `--timings=${timingsOf(name)}`];
  const runner = [process.execPath, "test", ...options, ...outputs];
  const env = { UNIBUS_TEST_BIN: executable, NO_COLOR: "1" };
  const code = await step(name, [...runner, ...longestFirst(files).map((file) => `./${file}`)], env);
  const counts = counted(report(name));
  console.log(`== slowest files of ${name}\n${slowest(report(name))}`);
  for (const file of [report(name), timingsOf(name)]) rmSync(file, { force: true });
  if (code !== 0 && counts.failed === 0) bad.push(`the runner of ${name}`);
  if (counts.passed === 0) bad.push(`no test ran in ${name}`);
  return counts;
}

endSessionsOnSignals();
mkdirSync(join(root, ".cache"), { recursive: true });
await natsServer().catch((error: Error) => {
  console.error(`error: ${error.message}`);
  console.log("0 passed, 1 failed");
  process.exit(1);
});
const [executable] = await Promise.all([
  isQuick ? "" : compile(),
  gate("types", [bin("tsc"), "--noEmit", "-p", "."]),
  gate("lint", [bin("biome"), "check", "--error-on-warnings", "."]),
]);
const files = executable === null ? [] : testsIn(isQuick ? quick : [...quick, ...slow]);
const isIn = (names: readonly string[]) => (file: string) => names.some((name) => file.startsWith(`test/${name}`));
const run = (name: string, atOnce: number, chosen: readonly string[]) =>
  runTests({ name, atOnce, files: chosen }, executable ?? "");
const [isAlone, isWaiting] = [isIn(alone), isIn(waiting)];
const others = files.filter((file) => !isAlone(file) && !isWaiting(file));
const counts = await Promise.all([
  run("tests", 2, others),
  run("clusters", 1, files.filter(isAlone)),
  run("waits", 1, files.filter(isWaiting)),
]);
const passed = counts.reduce((sum, count) => sum + count.passed, 0);
const failed = counts.reduce((sum, count) => sum + count.failed, 0) + bad.length;
if (process.argv.includes("--update-timings") && !isQuick && executable !== null) recordTimings(times);
if (bad.length > 0) console.log(`failed: ${bad.join(", ")}`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
