/** Compiles the executable, with nats-server inside: `dist/unibus`. */
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { natsServer } from "./nats-server.ts";

const root = join(import.meta.dir, "..");
const out = join(root, "dist", "unibus");

/** What keeps a bunfig.toml or a .env in the working directory from running inside the executable. */
const closed = ["--no-compile-autoload-bunfig", "--no-compile-autoload-dotenv"];

/** Compiles, and gives the executable's path. Errors: Bun's own words. No `--minify`: Elysia reads handler source. */
export async function build(): Promise<string> {
  await natsServer();
  mkdirSync(join(root, "dist"), { recursive: true });
  const flags = ["--compile", "--bytecode", "--format=esm", "--sourcemap", ...closed, "--target=bun"];
  const done = Bun.spawnSync([process.execPath, "build", ...flags, "src/cli/main.ts", "--outfile", out], { cwd: root });
  if (!done.success) throw new Error(done.stderr.toString());
  return out;
}

if (import.meta.main) {
  try {
    const file = await build();
    console.log(`dist/unibus  ${Math.round(statSync(file).size / 1e6)} MB`);
  } catch (error) {
    console.error(`error: ${(error as Error).message}`);
    process.exit(1);
  }
}
