import type { Log } from "../contracts/plugin.ts";
import type { BootOptions } from "../kernel/boot.ts";
import { builtins } from "../plugins/index.ts";
import { openDataDir } from "./data-dir.ts";
import { type BusOptions, manifestOf, overridesOf } from "./settings.ts";
import { version } from "./version.ts";

/** What the kernel boots or plans from, by a command's options. `openDir` gives the data directory's path. */
export function bootOptions(
  options: BusOptions,
  log: (name: string) => Log,
  openDir: (path: string) => string = openDataDir,
): BootOptions {
  const { manifest, file } = manifestOf(options);
  const overrides = overridesOf(options, manifest);
  // Made last: a command line that is wrong leaves nothing behind.
  const dataDir = openDir(options.data);
  return { manifest, file, overrides, builtins, environment: process.env, version, dataDir, log };
}
