import type { Log } from "../../contracts/plugin.ts";
import type { BootOptions } from "../../kernel/boot.ts";
import { builtins } from "../../plugins/index.ts";
import { type BusOptions, manifestOf, overridesOf } from "../settings.ts";
import { version } from "../version.ts";
import { openDataDir } from "./data-dir.ts";

/** Builds the kernel's boot options from a command's options. `openDir` returns the data directory's path. */
export function bootOptions(
  options: BusOptions,
  log: (name: string) => Log,
  openDir: (path: string) => string = openDataDir,
): BootOptions {
  const { manifest, file } = manifestOf(options);
  const overrides = overridesOf(options, manifest);
  // Opened last, so that a wrong command line leaves nothing behind.
  const dataDir = openDir(options.data);
  return { manifest, file, overrides, builtins, environment: process.env, version, dataDir, log };
}
