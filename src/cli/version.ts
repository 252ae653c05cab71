import { Command } from "commander";
import manifest from "../../package.json";
import { type PrintOptions, printJson, printLine } from "./print.ts";

/** The version of this executable. */
export const version: string = manifest.version;

/** The command `version`. */
export function versionCommand(): Command {
  return new Command("version")
    .description("print the version")
    .option("--json", "print JSON")
    .action(({ json }: PrintOptions) => (json ? printJson({ version }) : printLine(version)));
}
