/**
 * `npm test`: types, lint, build, then every test. Ends with `N passed, N failed` out of the runner's own report.
 * `--quick` leaves out what starts the executable: the inner loop, `bun run check`.
 */
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { build } from "./build.ts";
import { natsServer } from "./nats-server.ts";

const root = join(import.meta.dir, "..");
const report = (run: string) => join(root, ".cache", `junit-${run}-${process.pid}.xml`);
const bin = (name: string) => join(root, "node_modules", ".bin", name);
const isQuick = process.argv.includes("--quick");

/** Test folders that start the executable, or are slow for another reason. */
const slow = ["e2e", "attacks", "faults", "fuzz", "sdk", "interop"];
const quick = ["wire", "properties", "kernel", "plugins", "client", "cli", "conformance", "tidy"];
/** Tests that start several servers and watch how they get along: one at a time, or two cores are too few for them. */
const alone = [
  ...["e2e/cluster", "e2e/gapless", "e2e/migrate", "attacks/replay-on-another-node"],
  ...["faults/cluster-", "faults/chaos/", "faults/store-kv-conformance", "faults/store-kv-quorum"],
];

/** The test files of some folders, by name. */
function testsIn(folders: readonly string[]): string[] {
  const all = folders.flatMap((folder) => [...new Bun.Glob(`test/${folder}/**/*.test.ts`).scanSync(root)]);
  return all.map((file) => file.replaceAll("\\", "/")).sort();
}

/** How long a test may take that says nothing of it, in milliseconds: it ends what hangs, and judges nobody's speed. */
const testTimeoutMs = 60_000;

/** Runs a step; its output is shown. Gives its exit code. */
async function step(name: string, command: readonly string[], env: Record<string, string> = {}): Promise<number> {
  const began = performance.now();
  console.log(`== ${name}`);
  const stdio = ["ignore", "inherit", "inherit"] as const;
  const code = await Bun.spawn([...command], { cwd: root, stdio: [...stdio], env: { ...process.env, ...env } }).exited;
  console.log(
    `== ${name}: ${code === 0 ? "ok" : `exit ${code}`} in ${((performance.now() - began) / 1000).toFixed(1)} s`,
  );
  return code;
}

/** What the runner's report counts. No report, or one without tests, counts as a failure. */
function counted(file: string): { passed: number; failed: number } {
  const text = (() => {
    try {
      return readFileSync(file, "utf8");
    } catch {
      return "";
    }
  })();
  const head = /<testsuites[^>]*>/.exec(text)?.[0] ?? "";
  const number = (name: string) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
  const [tests, failures, skipped] = [number("tests"), number("failures") + number("errors"), number("skipped")];
  if (skipped > 0) console.log(`${skipped} tests were skipped: that counts as failed`);
  return { passed: tests - failures - skipped, failed: failures + skipped };
}

const bad: string[] = [];
const gate = async (name: string, command: readonly string[]): Promise<void> => {
  if ((await step(name, command)) !== 0) bad.push(name);
};

mkdirSync(join(root, ".cache"), { recursive: true });
await natsServer().catch((error: Error) => {
  console.error(`error: ${error.message}`);
  console.log("0 passed, 1 failed");
  process.exit(1);
});
await gate("types", [bin("tsc"), "--noEmit", "-p", "."]);
await gate("lint", [bin("biome"), "check", "--error-on-warnings", "."]);
const executable = isQuick ? "" : await build();
const files = testsIn(isQuick ? quick : [...quick, ...slow]);
const isAlone = (file: string) => alone.some((name) => file.startsWith(`test/${name}`));
const runs = [
  { name: "tests", atOnce: 2, files: files.filter((file) => !isAlone(file)) },
  { name: "clusters", atOnce: 1, files: files.filter(isAlone) },
];
let [passed, failed] = [0, 0];
for (const run of runs.filter(({ files }) => files.length > 0)) {
  const options = [`--parallel=${run.atOnce}`, `--timeout=${testTimeoutMs}`, "--only-failures", "--reporter=junit"];
  const runner = [process.execPath, "test", ...options, `--reporter-outfile=${report(run.name)}`];
  const env = { UNIBUS_TEST_BIN: executable, NO_COLOR: "1" };
  const code = await step(run.name, [...runner, ...run.files.map((file) => `./${file}`)], env);
  const counts = counted(report(run.name));
  rmSync(report(run.name), { force: true });
  if (code !== 0 && counts.failed === 0) bad.push(`the runner of ${run.name}`);
  if (counts.passed === 0) bad.push(`no test ran in ${run.name}`);
  passed += counts.passed;
  failed += counts.failed;
}
if (bad.length > 0) console.log(`failed: ${bad.join(", ")}`);
console.log(`${passed} passed, ${failed + bad.length} failed`);
process.exit(failed + bad.length === 0 ? 0 : 1);
