/** Compiles the executable, with nats-server inside: `dist/unibus`. Run by itself, also the npm package's modules. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { buildClient, sizesOf } from "./build-client.ts";
import { natsServer } from "./nats-server.ts";

const root = join(import.meta.dir, "..");
const dist = join(root, "dist");

/** What keeps a bunfig.toml or a .env in the working directory from running inside the executable. */
const closed = ["--no-compile-autoload-bunfig", "--no-compile-autoload-dotenv"];

/**
 * Compiles, and gives the executable's path. Errors: Bun's own words.
 * No `--minify`: Elysia reads handler source. With `--splitting` a command loads what it needs and no more.
 */
export async function build(): Promise<string> {
  await natsServer();
  mkdirSync(dist, { recursive: true });
  // Made aside and moved into place: whoever runs the executable meanwhile never meets half of one.
  const aside = mkdtempSync(join(dist, ".build-"));
  try {
    const flags = ["--compile", "--bytecode", "--format=esm", "--splitting", "--sourcemap", ...closed, "--target=bun"];
    const out = ["--outfile", join(aside, "unibus")];
    const done = Bun.spawnSync([process.execPath, "build", ...flags, "src/cli/main.ts", ...out], { cwd: root });
    if (!done.success) throw new Error(done.stderr.toString());
    // The executable carries its source maps; those beside it are copies.
    renameSync(join(aside, "unibus"), join(dist, "unibus"));
    return join(dist, "unibus");
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  try {
    const file = await build();
    console.log(`dist/unibus  ${Math.round(statSync(file).size / 1e6)} MB`);
    console.log(sizesOf(await buildClient()));
  } catch (error) {
    console.error(`error: ${(error as Error).message}`);
    process.exit(1);
  }
}
