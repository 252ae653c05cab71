import { Argument, type Command } from "commander";
import { CliCommand } from "./cli-command.ts";
import { type CommandWords, type Names, type OptionValue, type Shell, scripts } from "./completion-scripts.ts";
import { printText } from "./print.ts";

/** The kind of value an option takes, from its declaration. */
function takesOf(flags: string, choices: readonly string[] | undefined): OptionValue {
  if (!/[<[]/.test(flags)) return null;
  return choices ?? (/<(file|dir)>/.test(flags) ? "file" : "text");
}

/** Arguments whose values are names that only the bus knows. */
const namesOf: Readonly<Record<string, Names>> = { room: "rooms", who: "people" };

/** Describes a command and its subcommands, each by its path, such as `/room/new`. */
function wordsOf(command: Command, path = ""): CommandWords[] {
  const inner = command.commands.map((one) => ({ name: one.name(), about: one.description() }));
  const options = command.createHelp().visibleOptions(command);
  const own = {
    path,
    commands: inner,
    options: options.map(({ long, short, flags, description, argChoices }) => ({
      name: long ?? short ?? "",
      about: description,
      takes: takesOf(flags, argChoices),
    })),
    choices: command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []),
    takesFiles: command.registeredArguments.some((argument) => argument.name() === "file"),
    names: command.registeredArguments.map((argument) => namesOf[argument.name()] ?? null),
    isVariadic: command.registeredArguments.at(-1)?.variadic === true,
  };
  return [own, ...command.commands.flatMap((one) => wordsOf(one, `${path}/${one.name()}`))];
}

/** The command `completion bash|zsh|fish`, which prints a completion script. `load` returns the whole program. */
export function completionCommand(load: () => Promise<Command>): CliCommand {
  return new CliCommand("completion", {
    summary: "print a completion script for a shell; its --help says where it goes",
    example: "unibus completion bash > ~/.local/share/bash-completion/completions/unibus",
  })
    .addArgument(
      new Argument("<shell>", "which shell; rooms, people: print the names that the scripts offer").choices([
        ...Object.keys(scripts),
        ...["rooms", "people"],
      ]),
    )
    .addHelpText(
      "after",
      [
        "",
        "zsh:   unibus completion zsh > a folder of $fpath, as _unibus",
        "fish:  unibus completion fish > ~/.config/fish/completions/unibus.fish",
      ].join("\n"),
    )
    .action(async (shell: Shell | Names) => {
      if (shell !== "rooms" && shell !== "people") return printText(scripts[shell](wordsOf(await load())));
      return (await import("./peer/known-names.ts")).printNames(shell);
    });
}
