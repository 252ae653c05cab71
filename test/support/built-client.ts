/** The built package, in its own folder, so that no test sees another test's build half finished. */
import { copyFileSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { buildClient, bundle, type Platform } from "../../scripts/build-client.ts";
import type { Folder } from "./executable.ts";

const root = join(import.meta.dir, "..", "..");

/**
 * Builds the package, without its type declarations, into a folder's `node_modules/unibus`, where its programs find it.
 * Returns the package's folder.
 */
export async function installBuilt(folder: Folder): Promise<string> {
  const home = folder.file("node_modules", "unibus");
  mkdirSync(home, { recursive: true });
  copyFileSync(join(root, "package.json"), join(home, "package.json"));
  await buildClient(join(home, "dist"), { hasTypes: false });
  mkdirSync(folder.file("node_modules", "@sinclair"));
  for (const name of [join("@sinclair", "typebox"), "ws"]) {
    symlinkSync(join(root, "node_modules", name), folder.file("node_modules", name));
  }
  return home;
}

/** Bundles a program of test/sdk into one module that imports the installed client. Returns its file. */
export function programOf(folder: Folder, name: string, platform: Platform): Promise<string> {
  const entry = join("test", "sdk", `${name}.ts`);
  return bundle({ entry, platform, folder: folder.path, name, external: ["unibus/client"] });
}
