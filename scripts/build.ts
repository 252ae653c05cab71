/**
 * Compiles the executable with nats-server inside: `dist/unibus`, its SBOM `dist/unibus.cdx.json`, the licences of
 * everything in it, `dist/LICENSES.txt`, and the hashes of these three, `dist/SHA256SUMS`. Run as a script, it also
 * builds the modules of the npm package.
 */
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildClient, sizesOf } from "./build-client.ts";
import { collectLicenses, licencesText, ownPart } from "./licenses.ts";
import { natsServer } from "./nats-server.ts";
import { sbomOf } from "./sbom.ts";

const root = join(import.meta.dir, "..");
const dist = join(root, "dist");
/** What a build makes besides the modules of the npm package. */
const made = ["unibus", "unibus.cdx.json", "LICENSES.txt"] as const;

/** Keeps the executable from loading a bunfig.toml or .env in the working directory. */
const closed = ["--no-compile-autoload-bunfig", "--no-compile-autoload-dotenv"];

/**
 * Compiles the executable and returns its path. Errors: those of Bun.
 * No `--minify`, because Elysia reads the source of handlers. With `--splitting` a command loads only what it needs.
 */
export async function build(): Promise<string> {
  const parts = collectLicenses(await natsServer());
  mkdirSync(dist, { recursive: true });
  // Built in a temporary folder and moved into place, so that no concurrent run sees a partial executable.
  const aside = mkdtempSync(join(dist, ".build-"));
  try {
    const flags = ["--compile", "--bytecode", "--format=esm", "--splitting", "--sourcemap", ...closed, "--target=bun"];
    const out = ["--outfile", join(aside, "unibus")];
    const done = Bun.spawnSync([process.execPath, "build", ...flags, "src/cli/main.ts", ...out], { cwd: root });
    if (!done.success) throw new Error(done.stderr.toString());
    const sumOf = (name: string) =>
      createHash("sha256")
        .update(readFileSync(join(aside, name)))
        .digest("hex");
    writeFileSync(join(aside, "unibus.cdx.json"), sbomOf(ownPart(), parts, sumOf("unibus")));
    writeFileSync(join(aside, "LICENSES.txt"), licencesText([ownPart(), ...parts]));
    writeFileSync(join(aside, "SHA256SUMS"), made.map((name) => `${sumOf(name)}  ${name}\n`).join(""));
    // The executable contains its source maps; the files next to it are copies.
    for (const name of [...made, "SHA256SUMS"]) renameSync(join(aside, name), join(dist, name));
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
