/**
 * `npm test`: types, lint, build, then every test. Ends with `N passed, N failed` out of the runner's own report.
 * `--quick` leaves out what starts the executable: the inner loop, `bun run check`.
 */
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { build } from "./build.ts";
import { natsServer } from "./nats-server.ts";

const root = join(import.meta.dir, "..");
const report = join(root, ".cache", `junit-${process.pid}.xml`);
const bin = (name: string) => join(root, "node_modules", ".bin", name);
const isQuick = process.argv.includes("--quick");

/** Test folders that start the executable, or are slow for another reason. */
const slow = ["test/e2e", "test/attacks", "test/faults", "test/fuzz"];
const quick = [
  "test/wire",
  "test/properties",
  "test/kernel",
  "test/plugins",
  "test/client",
  "test/cli",
  "test/conformance",
  "test/tidy",
];

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
function counted(): { passed: number; failed: number } {
  const text = (() => {
    try {
      return readFileSync(report, "utf8");
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
const folders = isQuick ? quick : [...quick, ...slow];
const runner = [
  process.execPath,
  "test",
  "--parallel=2",
  "--only-failures",
  "--reporter=junit",
  `--reporter-outfile=${report}`,
  ...folders,
];
const code = await step("tests", runner, { UNIBUS_TEST_BIN: executable, NO_COLOR: "1" });
const { passed, failed } = counted();
rmSync(report, { force: true });
if (code !== 0 && failed === 0) bad.push("the test runner");
if (passed === 0) bad.push("no test ran");
if (bad.length > 0) console.log(`failed: ${bad.join(", ")}`);
console.log(`${passed} passed, ${failed + bad.length} failed`);
process.exit(failed + bad.length === 0 ? 0 : 1);
