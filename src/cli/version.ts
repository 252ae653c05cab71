import { Command } from "commander";
import manifest from "../../package.json";
import { type PrintOptions, printLine } from "./print.ts";
import { safeJson } from "./terminal-text.ts";

/** The version of this executable. */
export const version: string = manifest.version;

/** `version`. Source: spec 14. */
export function versionCommand(): Command {
  return new Command("version")
    .description("print the version")
    .option("--json", "print JSON")
    .action(({ json }: PrintOptions) => printLine(json ? safeJson({ version }) : version));
}
