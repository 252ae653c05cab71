import type { Log } from "../contracts/plugin.ts";
import type { BootOptions } from "../kernel/boot.ts";
import { builtins } from "../plugins/index.ts";
import { openDataDir } from "./data-dir.ts";
import { type BusOptions, manifestOf, overridesOf } from "./settings.ts";
import { version } from "./version.ts";

/** What the kernel boots or plans from, by a command's options. */
export function bootOptions(options: BusOptions, log: (name: string) => Log): BootOptions {
  const dataDir = openDataDir(options.data);
  return {
    ...manifestOf(options),
    overrides: overridesOf(options),
    builtins,
    environment: process.env,
    version,
    dataDir,
    log,
  };
}
