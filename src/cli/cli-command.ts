import { Command } from "commander";

/** What every command states about itself in its help. */
export interface Declaration {
  /** What the command does, as an imperative. */
  readonly summary: string;
  /** One command line as a user types it, in a single line. A redirection at the end is allowed. */
  readonly example: string;
}

/** A command of unibus. Its help ends with its example, which program.ts adds. */
export class CliCommand extends Command {
  /** One command line that uses this command, or for a group one of its subcommands. */
  readonly example: string;

  /** Creates a command that is not attached to another. */
  constructor(name: string, { summary, example }: Declaration) {
    super(name);
    this.description(summary);
    this.example = example;
  }

  /** Adds a subcommand, and returns it. */
  sub(name: string, declaration: Declaration): CliCommand {
    const inner = new CliCommand(name, declaration);
    this.addCommand(inner);
    return inner;
  }
}
