/** A Python environment with schemathesis, cached in a folder and created on first use. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const requirements = readFileSync(join(import.meta.dir, "requirements.txt"), "utf8");
const cache = join(import.meta.dir, "..", "..", ".cache");
const folder = join(cache, `fuzz-${Bun.hash(requirements).toString(36)}`);

/** Timeout for downloads from PyPI, in milliseconds. */
export const installMs = 300_000;

function run(what: string, command: readonly string[]): string | null {
  const done = Bun.spawnSync([...command], { stdin: "ignore", stdout: "ignore", stderr: "pipe", timeout: installMs });
  if (done.success) return null;
  const said = done.stderr.toString().trim().split("\n").at(-1) ?? "";
  return `${what} failed: ${said || `exit ${done.exitCode}`}`;
}

/** Installs into a temporary folder and then renames it, so that two concurrent runs do not collide. */
function install(python: string): string | null {
  mkdirSync(cache, { recursive: true });
  const draft = mkdtempSync(join(cache, "fuzz-draft-"));
  try {
    const list = join(draft, "requirements.txt");
    writeFileSync(list, requirements);
    const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", list];
    const failed =
      run("python3 -m venv", [python, "-m", "venv", join(draft, "venv")]) ??
      run("the installation of schemathesis from PyPI", [join(draft, "venv", "bin", "python"), ...pip]);
    if (failed === null && !existsSync(folder)) renameSync(draft, folder);
    return failed;
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

/** The Python that has schemathesis, and a folder in which Hypothesis keeps what it computes once. */
export interface FuzzPython {
  readonly python: string;
  readonly tables: string;
}

/** The Python that has schemathesis, or the reason for its absence. */
export function fuzzPython(): FuzzPython | { readonly missing: string } {
  const python = Bun.which("python3");
  if (python === null) return { missing: "python3 is not on PATH (install Python 3.10 or newer)" };
  const failed = existsSync(folder) ? null : install(python);
  if (failed !== null) return { missing: failed };
  return { python: join(folder, "venv", "bin", "python"), tables: join(folder, "hypothesis") };
}
