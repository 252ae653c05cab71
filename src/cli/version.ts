import manifest from "../../package.json";
import { CliCommand } from "./cli-command.ts";
import { type PrintOptions, printJson, printLine } from "./print.ts";

/** The version of this executable. */
export const version: string = manifest.version;

/** The command `version`. */
export function versionCommand(): CliCommand {
  return new CliCommand("version", { summary: "print the version", example: "unibus version" })
    .option("--json", "print JSON")
    .action(({ json }: PrintOptions) => (json ? printJson({ version }) : printLine(version)));
}
