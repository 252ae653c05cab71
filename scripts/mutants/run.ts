/**
 * `npm run soak -- mutants [NAME...]`: removes each limit from a copy of the tree, one at a time, and runs the tests
 * that cover it. A mutant is killed if one of them fails; a surviving mutant shows a limit without a test. The same
 * tests also run without the edit, because a test that fails anyway proves nothing.
 */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { runInSession } from "../sessions.ts";
import { mutants } from "./index.ts";
import { type Holder, type Mutant, mutated } from "./mutant.ts";

const root = join(import.meta.dir, "..", "..");
/** Timeouts of one test and of one file, in milliseconds. Without its limit, code may run forever. */
const testTimeoutMs = 60_000;
const runTimeoutMs = 600_000;
/** Tests in these folders need the executable or built modules. */
const built = ["test/e2e/", "test/attacks/", "test/faults/", "test/fuzz/", "test/sdk/", "test/interop/"];

/** Tests in those folders that run a bus in their own process, and need neither. */
const inProcess = ["test/faults/room-races.test.ts"];

/** Copies the tree without ignored files. Packages and nats-server are shared with the original. */
function copyTree(): string {
  mkdirSync(join(root, ".cache"), { recursive: true });
  const copy = mkdtempSync(join(root, ".cache", "mutants-"));
  const listed = Bun.spawnSync(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], { cwd: root });
  if (!listed.success) throw new Error(listed.stderr.toString());
  for (const file of listed.stdout.toString().split("\0").filter(Boolean)) {
    if (!Bun.file(join(root, file)).size) continue;
    mkdirSync(dirname(join(copy, file)), { recursive: true });
    copyFileSync(join(root, file), join(copy, file));
  }
  mkdirSync(join(copy, ".cache"));
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"), "dir");
  symlinkSync(join(root, ".cache", "nats-server"), join(copy, ".cache", "nats-server"), "dir");
  return copy;
}

/** The result of running a test file. */
interface Outcome {
  readonly passed: boolean;
  /** The names of the tests that failed. */
  readonly failed: readonly string[];
  readonly output: string;
}

async function runTests(copy: string, { file, test }: Holder): Promise<Outcome> {
  const only = test === undefined ? [] : ["-t", test];
  const { code, output } = await runInSession(
    [process.execPath, "test", `./${file}`, "--timeout", `${testTimeoutMs}`, ...only],
    {
      cwd: copy,
      env: { ...process.env, UNIBUS_TEST_BIN: join(copy, "dist", "unibus"), NO_COLOR: "1" },
      timeoutMs: runTimeoutMs,
    },
  );
  const failed = [...output.matchAll(/^\(fail\) (.*?)(?: \[[\d.]+m?s\])?$/gm)].map(([, name]) => name ?? "");
  return { passed: code === 0, failed, output };
}

/** Whether some tests need the executable. */
function needsBuild(held: readonly Holder[]): boolean {
  return held.some(({ file }) => !inProcess.includes(file) && built.some((folder) => file.startsWith(folder)));
}

/** Builds the executable of a copy. Throws Bun's error if the source does not compile. */
async function buildIn(copy: string): Promise<void> {
  const { build } = (await import(join(copy, "scripts", "build.ts"))) as typeof import("../build.ts");
  await build();
}

/** Runs tests without any edit, in a separate copy, each once. */
class Baseline {
  readonly #runs = new Map<string, Promise<Outcome>>();
  #built: Promise<void> | null = null;

  constructor(private readonly copy: string) {}

  /** The failures of a mutant's tests without its edit, or null. */
  async faultOf({ held }: Mutant): Promise<string | null> {
    if (needsBuild(held)) this.#built ??= buildIn(this.copy);
    await this.#built;
    for (const holder of held) {
      const key = `${holder.file} ${holder.test ?? ""}`;
      const run = this.#runs.get(key) ?? runTests(this.copy, holder);
      this.#runs.set(key, run);
      const { passed, output } = await run;
      if (!passed) return output;
    }
    return null;
  }
}

/** Runs the tests against one mutant. Returns the test that killed it, or null. */
async function killerOf(copy: string, mutant: Mutant): Promise<string | null> {
  const path = join(copy, mutant.file);
  const source = readFileSync(path, "utf8");
  const edited = mutated(source, mutant);
  // A syntax error would be killed by any test, so check that the edit parses.
  new Bun.Transpiler({ loader: "ts" }).transformSync(edited);
  try {
    writeFileSync(path, edited);
    if (needsBuild(mutant.held)) await buildIn(copy);
    for (const holder of mutant.held) {
      const { passed, failed, output } = await runTests(copy, holder);
      if (passed) continue;
      if (process.env.UNIBUS_MUTANTS_LOG) console.log(output);
      return `${holder.file}: ${failed[0] ?? "ended before its tests did"}`;
    }
    return null;
  } finally {
    writeFileSync(path, source);
  }
}

/** Runs the named mutants, or all. Returns the exit code: 0 if all were killed. */
export async function runMutants(names: readonly string[]): Promise<number> {
  const unknown = names.filter((name) => !mutants.some((mutant) => mutant.name === name));
  if (unknown.length > 0) {
    const known = mutants.map(({ name }) => `  ${name}`).join("\n");
    console.error(`error: ${JSON.stringify(unknown[0])} is not a mutant (choose one of these):\n${known}`);
    return 2;
  }
  const chosen = mutants.filter(({ name }) => names.length === 0 || names.includes(name));
  const [sound, copy] = [copyTree(), copyTree()];
  const remove = () => [sound, copy].forEach((one) => void rmSync(one, { recursive: true, force: true }));
  const stop = () => {
    remove();
    process.exit(130);
  };
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, stop);
  const bad: string[] = [];
  try {
    const baseline = new Baseline(sound);
    for (const mutant of chosen) {
      const fault = await baseline.faultOf(mutant);
      const began = performance.now();
      const killer = fault === null ? await killerOf(copy, mutant) : null;
      if (killer === null) bad.push(mutant.name);
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      if (fault !== null) console.log(`UNSOUND   ${mutant.name}: its tests fail without the edit\n${fault}`);
      else
        console.log(`${killer === null ? "SURVIVED " : "killed   "} ${mutant.name}  (${seconds} s)  ${killer ?? ""}`);
    }
  } finally {
    remove();
  }
  console.log(`${chosen.length - bad.length} killed, ${bad.length} not${bad.length > 0 ? `: ${bad.join(", ")}` : ""}`);
  return bad.length === 0 ? 0 : 1;
}
