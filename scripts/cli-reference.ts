/**
 * Generates docs/reference/cli.md from the declarations of the commands: for each what it does, its arguments and
 * options with their defaults, and its example. A test checks that the file in the repository is up to date.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { CliCommand } from "../src/cli/cli-command.ts";
import { makeProgram } from "../src/cli/program.ts";

/** The path of the reference. */
export const cliReferenceFile: string = join(import.meta.dir, "..", "docs", "reference", "cli.md");

const code = (text: string): string => `\`${text}\``;
const cell = (text: string): string => text.replaceAll("|", "\\|");
const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
/** Keeps `<file>` in running text from being taken for HTML. */
const plain = (text: string): string => text.replaceAll("<", "&lt;");

/** What the help prints after the options, without the example. */
function notesOf(command: CliCommand): string {
  let text = "";
  command.configureOutput({
    writeOut: (more) => {
      text += more;
    },
  });
  command.outputHelp();
  return text.slice(command.helpInformation().length).replace(`Example: ${command.example}`, "").trim();
}

function optionRows(command: CliCommand): string[] {
  const help = command.createHelp();
  const row = (term: string, description: string) => `| ${code(cell(term))} | ${plain(cell(description))} |`;
  const rows = [
    ...help.visibleArguments(command).map((one) => row(`<${one.name()}>`, help.argumentDescription(one))),
    ...help
      .visibleOptions(command)
      .filter(({ long }) => long !== "--help")
      .map((one) => row(help.optionTerm(one), help.optionDescription(one))),
  ];
  return rows.length === 0 ? [] : ["", "| Argument or option | What it does |", "|---|---|", ...rows];
}

/** The subcommands of a command that are declared by unibus. */
const innerOf = (command: { readonly commands: readonly unknown[] }): CliCommand[] =>
  command.commands.filter((inner) => inner instanceof CliCommand);

/** The section of a command, followed by those of its subcommands. */
function sections(command: CliCommand, path: string): string[] {
  const inner = innerOf(command);
  if (inner.length > 0) return inner.flatMap((one) => sections(one, `${path} ${one.name()}`));
  const notes = notesOf(command);
  return [
    `### ${path}`,
    "",
    plain(sentence(command.description())),
    "",
    `Usage: ${code(command.createHelp().commandUsage(command))}`,
    ...optionRows(command),
    ...(notes === "" ? [] : ["", "```text", notes, "```"]),
    "",
    `Example: ${code(command.example)}`,
    "",
  ];
}

/** Generates the reference of all commands in Markdown. */
export async function cliReference(): Promise<string> {
  const program = await makeProgram();
  const lines = [
    "# Command reference",
    "",
    "Made by `bun scripts/cli-reference.ts` from the declarations of the commands. Do not edit it by hand.",
    "",
    "Every command also prints this with `--help`. `env` names the environment variable that sets an option. With",
    "`--json`, an error is one object on stderr: `{error, code}`. A command exits with 0, with 1 if it failed, and with",
    "2 if the command line is wrong.",
    "",
  ];
  for (const command of innerOf(program)) {
    const group = command.helpGroup();
    if (group !== "" && !lines.includes(`## ${group.replace(/:$/, "")}`))
      lines.push(`## ${group.replace(/:$/, "")}`, "");
    lines.push(...sections(command, `unibus ${command.name()}`));
  }
  return `${lines.join("\n").trimEnd()}\n`;
}

if (import.meta.main) {
  mkdirSync(dirname(cliReferenceFile), { recursive: true });
  writeFileSync(cliReferenceFile, await cliReference());
  console.log("docs/reference/cli.md");
}
