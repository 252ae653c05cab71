import { Command, InvalidArgumentError } from "commander";

/** The command `help [COMMAND...]`. `load` returns the whole program. */
export function helpCommand(load: () => Promise<Command>): Command {
  return new Command("help")
    .description("print the help of a command, or of all commands")
    .argument("[command...]", "the command, as in: unibus help room add")
    .action(async (names: readonly string[]) => {
      let found = await load();
      for (const name of names) {
        const inner = found.commands.find((one) => one.name() === name);
        if (inner === undefined)
          throw new InvalidArgumentError(`unknown command: ${names.join(" ")} (see unibus help)`);
        found = inner;
      }
      found.outputHelp();
    });
}
