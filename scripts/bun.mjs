// Runs a script with the Bun that npm installed, whether or not Bun's install script ran.
// Plain JavaScript for Node, so that Node and npm are the only prerequisites.
import { spawn } from "node:child_process";
import { chmodSync, existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const modules = join(dirname(dirname(fileURLToPath(import.meta.url))), "node_modules");
const platform = `bun-${process.platform}-${process.arch === "arm64" ? "aarch64" : process.arch}`;
const candidates = [
  ...["", "-baseline", "-musl", "-musl-baseline"].map((kind) => join(modules, "@oven", platform + kind, "bin", "bun")),
  join(modules, "bun", "bin", "bun.exe"),
];
// Without its install script, the npm package has a short text file in place of the executable; hence the size check.
const bun = candidates.find((file) => existsSync(file) && statSync(file).size > 1_000_000);
if (bun === undefined) {
  console.error("error: Bun is not in node_modules (run `npm install` first)");
  process.exit(1);
}
try {
  chmodSync(bun, 0o755);
} catch {
  // The file belongs to another user. It is executable already, or the spawn below reports why not.
}
const child = spawn(bun, process.argv.slice(2), { stdio: "inherit" });
// In a terminal Ctrl-C reaches the child directly, and a second signal would interrupt its orderly stop.
process.on("SIGINT", () => process.stdin.isTTY || child.kill("SIGINT"));
for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
child.on("error", (error) => {
  console.error(`error: cannot start ${bun}: ${error.message}`);
  process.exit(1);
});
child.on("exit", (code, signal) => process.exit(code ?? (signal === "SIGINT" ? 130 : 143)));
