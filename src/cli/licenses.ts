import { UnibusError } from "../wire/errors.ts";
import type { Part } from "./carried-licenses.ts";
import { CliCommand } from "./cli-command.ts";
import { type PrintOptions, printJson, printNote, printRow, printText } from "./print.ts";

interface LicensesOptions extends PrintOptions {
  readonly full?: boolean;
}

/** Selects components by name. Errors: not_found. */
function chosen(parts: readonly Part[], names: readonly string[]): readonly Part[] {
  if (names.length === 0) return parts;
  return names.flatMap((name) => {
    const found = parts.filter((part) => part.name.toLowerCase() === name.toLowerCase());
    if (found.length > 0) return found;
    throw new UnibusError("not_found", `no part of the executable is named "${name}" (see unibus licenses)`);
  });
}

/** Prints licence text, each below its component's name. */
function printTexts(parts: readonly Part[]): void {
  parts.forEach(({ name, version, license, text }, index) => {
    const line = index === 0 ? "" : `\n${"-".repeat(80)}\n\n`;
    void printText(`${line}${name} ${version} (${license})\n\n${text}\n`);
  });
}

/** The command `licenses`, which lists the components of the executable and their licences. */
export function licensesCommand(): CliCommand {
  return new CliCommand("licenses", {
    summary:
      "list what the executable is made of, with versions and licences; with --full or a name, the licence texts",
    example: "unibus licenses nats-server",
  })
    .argument("[name...]", "print the licence texts of these parts only")
    .option("--full", "print all licence texts")
    .option("--json", "print JSON")
    .action(async (names: readonly string[], { full, json }: LicensesOptions) => {
      const { carriedParts } = await import("./carried-licenses.ts");
      const parts = chosen(carriedParts(), names);
      const isText = full || names.length > 0;
      if (json) {
        await printJson(
          parts.map(({ name, version, license, purl, text }) => ({
            name,
            version,
            license,
            purl,
            ...(isText && { text }),
          })),
        );
      } else if (isText) printTexts(parts);
      else {
        for (const { name, version, license } of parts) void printRow(name, version, license);
        printNote("unibus licenses --full prints the texts of these licences");
      }
    });
}
