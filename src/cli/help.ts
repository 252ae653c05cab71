import { type Command, InvalidArgumentError } from "commander";
import { CliCommand } from "./cli-command.ts";

/** The command `help [COMMAND...]`. `load` returns the whole program. */
export function helpCommand(load: () => Promise<Command>): CliCommand {
  return new CliCommand("help", {
    summary: "print the help of a command, or of all commands",
    example: "unibus help room add",
  })
    .argument("[command...]", "the command (default: all)")
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
