/** Tools and packages of other languages that interop tests use: found on the PATH, or installed into a cache once. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir ?? ".", "..", "..");

/** Finds a tool that is required. `how` names what to install. */
export function tool(name: string, how: string): string {
  const found = Bun.which(name);
  if (found === null)
    throw new Error(`${name} is not on the PATH: this test runs a stock client with it (install ${how})`);
  return found;
}

/** Runs a build step. Errors: with the step's output. */
export async function build(command: readonly string[], cwd: string = root): Promise<void> {
  const child = Bun.spawn([...command], { cwd, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`${command.join(" ")}: ${stdout}${stderr}`);
}

/** Installs into a cache folder, once per requirements list, and returns the folder. */
export async function installed(name: string, list: string, install: (into: string) => Promise<void>): Promise<string> {
  const sum = createHash("sha256").update(readFileSync(list)).digest("hex").slice(0, 16);
  const place = join(root, ".cache", `interop-${name}-${sum}`);
  if (existsSync(place)) return place;
  const fresh = `${place}.${process.pid}`;
  await install(fresh);
  try {
    renameSync(fresh, place);
  } catch {
    // Another run finished first.
    rmSync(fresh, { recursive: true });
  }
  return place;
}

/** Builds the peer in Go, once for each version of its source. Returns the executable. go.sum pins its modules. */
export async function goPeer(): Promise<string> {
  const source = join(root, "test", "interop", "go");
  const names = readdirSync(source).filter((name) => name.endsWith(".go") || name.startsWith("go."));
  const sum = createHash("sha256");
  for (const name of names.sort()) sum.update(`${name}\n`).update(readFileSync(join(source, name)));
  const place = join(root, ".cache", `interop-go-${sum.digest("hex").slice(0, 16)}`);
  if (existsSync(place)) return place;
  const fresh = `${place}.${process.pid}`;
  await build([tool("go", "Go 1.24 or newer"), "build", "-mod=readonly", "-trimpath", "-o", fresh, "."], source);
  renameSync(fresh, place);
  return place;
}

/** Installs nats-py and PyNaCl. Returns the command that starts Python, and its environment. */
export async function pythonWithNats(): Promise<{ readonly python: string; readonly env: Record<string, string> }> {
  const list = join(root, "test", "interop", "python", "requirements.txt");
  const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", list];
  const python = tool("python3", "Python 3.9 or newer, with pip");
  const path = await installed("python", list, (into) => build([python, ...pip, "--target", into]));
  return { python, env: { PYTHONPATH: path, PYTHONDONTWRITEBYTECODE: "1" } };
}
