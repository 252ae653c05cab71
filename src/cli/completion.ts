import { Argument, Command } from "commander";
import { type CommandWords, type OptionValue, type Shell, scripts } from "./completion-scripts.ts";
import { printText } from "./print.ts";

/** What follows an option, by how it is written. */
function takesOf(flags: string, choices: readonly string[] | undefined): OptionValue {
  if (!/[<[]/.test(flags)) return null;
  return choices ?? (/<(file|dir)>/.test(flags) ? "file" : "text");
}

/** What a command and those below it take, each by its path: `/room/new`. */
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
  };
  return [own, ...command.commands.flatMap((one) => wordsOf(one, `${path}/${one.name()}`))];
}

/** `completion bash|zsh|fish`: the script that lets a shell complete this command line. `load` gives all of it. */
export function completionCommand(load: () => Promise<Command>): Command {
  return new Command("completion")
    .description("print a completion script for a shell; its --help says where it goes")
    .addArgument(new Argument("<shell>", "which shell").choices(Object.keys(scripts)))
    .addHelpText(
      "after",
      [
        "",
        "bash:  unibus completion bash > ~/.local/share/bash-completion/completions/unibus",
        "zsh:   unibus completion zsh > a folder of $fpath, as _unibus",
        "fish:  unibus completion fish > ~/.config/fish/completions/unibus.fish",
      ].join("\n"),
    )
    .action(async (shell: Shell) => printText(scripts[shell](wordsOf(await load()))));
}
