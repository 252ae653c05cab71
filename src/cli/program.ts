import { Command, CommanderError, InvalidArgumentError } from "commander";
import { isUnibusError } from "../wire/errors.ts";
import { botCommand } from "./bot.ts";
import { identityCommand } from "./identity.ts";
import { inviteCommand } from "./invite.ts";
import { joinCommand } from "./join.ts";
import { planCommand } from "./plan.ts";
import { printLine } from "./print.ts";
import { serveCommand } from "./serve.ts";
import { userCommand } from "./user.ts";
import { version } from "./version.ts";

/** Exit codes. Source: spec 14. */
const exit = { done: 0, failed: 1, usage: 2 } as const;

function makeProgram(): Command {
  const program = new Command("unibus")
    .description("an end-to-end-encrypted message bus in one executable")
    .helpCommand(false);
  program.addCommand(serveCommand());
  program.addCommand(planCommand());
  program.addCommand(userCommand());
  program.addCommand(inviteCommand());
  program.addCommand(botCommand());
  program.addCommand(identityCommand());
  program.addCommand(joinCommand());
  program
    .command("version")
    .description("print the version")
    .action(() => printLine(version));
  overrideExit(program);
  return program;
}

/** Errors of usage are thrown by every command, not only by the first. */
function overrideExit(command: Command, path = command.name()): void {
  command.exitOverride().showHelpAfterError(`(see ${path} --help)`);
  for (const inner of command.commands) overrideExit(inner, `${path} ${inner.name()}`);
}

/** Says what went wrong, in one line; with UNIBUS_DEBUG also where. */
function tell(error: unknown): void {
  const message = isUnibusError(error) ? error.message : `something went wrong: ${(error as Error)?.message ?? error}`;
  process.stderr.write(`error: ${message.replaceAll("\n", " ")}\n`);
  for (let at = error; process.env.UNIBUS_DEBUG && at instanceof Error; at = at.cause) {
    process.stderr.write(`${at.stack ?? at.message}\n`);
  }
}

/** Runs one command line and gives its exit code. */
export async function run(argv: readonly string[]): Promise<number> {
  const program = makeProgram();
  try {
    await program.parseAsync(argv, { from: "user" });
    return exit.done;
  } catch (error) {
    if (error instanceof InvalidArgumentError) {
      // One that commander has told already comes as another class.
      process.stderr.write(`error: ${error.message}\n(see --help)\n`);
      return exit.usage;
    }
    if (error instanceof CommanderError) {
      // Asked for help or the version: commander ends by an exception there, too.
      return error.exitCode === 0 ? exit.done : exit.usage;
    }
    tell(error);
    return exit.failed;
  }
}
