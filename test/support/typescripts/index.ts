/** The TypeScript versions that a plugin author may use, installed once into a cache folder. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";

const lock = join(import.meta.dir, "package-lock.json");
const root = join(import.meta.dir, "..", "..", "..");
const cache = join(root, ".cache");
const folder = join(cache, `typescripts-${Bun.hash(readFileSync(lock)).toString(36)}`);

/** How long the registry may take, in milliseconds. */
export const installMs = 300_000;

/** Installs into a temporary folder and then renames it, so that concurrent runs do not collide. */
function install(): void {
  mkdirSync(cache, { recursive: true });
  const draft = mkdtempSync(join(cache, "typescripts-draft-"));
  try {
    for (const name of ["package.json", "package-lock.json"]) cpSync(join(import.meta.dir, name), join(draft, name));
    const command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    const done = Bun.spawnSync(command, { cwd: draft, stdin: "ignore", stderr: "pipe", timeout: installMs });
    if (!done.success) throw new Error(`npm ci of TypeScript failed: ${done.stderr.toString().trim()}`);
    if (!existsSync(folder)) renameSync(draft, folder);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

/** Returns the compilers' programs, by version. Errors: any, with npm's message, if they cannot be installed. */
export function typescripts(): Readonly<Record<"5.4" | "5.9" | "6" | "7", string>> {
  if (!existsSync(folder)) install();
  const at = (home: string, name: string) => join(home, "node_modules", name, "bin", "tsc");
  return {
    "5.4": at(folder, "typescript-5.4"),
    "5.9": at(folder, "typescript-5.9"),
    "6": at(folder, "typescript-6"),
    "7": at(root, "typescript"),
  };
}
