import { Command, CommanderError, InvalidArgumentError } from "commander";
import { isUnibusError } from "../wire/errors.ts";
import { Interrupted } from "./interrupt.ts";
import { printLine, writeOut } from "./print.ts";
import { safeText } from "./terminal-text.ts";
import { version } from "./version.ts";

/** Exit codes. Source: spec 14. */
const exit = { done: 0, failed: 1, usage: 2 } as const;

/** The commands in the order of the help. One is loaded when it is needed: `serve` starts without what others use. */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import("./serve.ts")).serveCommand(),
  plan: async () => (await import("./plan.ts")).planCommand(),
  user: async () => (await import("./user.ts")).userCommand(),
  invite: async () => (await import("./invite.ts")).inviteCommand(),
  doctor: async () => (await import("./doctor.ts")).doctorCommand(),
  bot: async () => (await import("./bot.ts")).botCommand(),
  backup: async () => (await import("./backup.ts")).backupCommand(),
  restore: async () => (await import("./restore.ts")).restoreCommand(),
  "migrate-to-kv": async () => (await import("./migrate-to-kv.ts")).migrateToKvCommand(),
  "migrate-to-sqlite": async () => (await import("./migrate-to-sqlite.ts")).migrateToSqliteCommand(),
  cluster: async () => (await import("./cluster.ts")).clusterCommand(),
  identity: async () => (await import("./identity.ts")).identityCommand(),
  join: async () => (await import("./join.ts")).joinCommand(),
  use: async () => (await import("./use.ts")).useCommand(),
  whoami: async () => (await import("./whoami.ts")).whoamiCommand(),
  rooms: async () => (await import("./rooms.ts")).roomsCommand(),
  room: async () => (await import("./room.ts")).roomCommand(),
  send: async () => (await import("./send.ts")).sendCommand(),
  tail: async () => (await import("./tail.ts")).tailCommand(),
  history: async () => (await import("./history.ts")).historyCommand(),
  request: async () => (await import("./request.ts")).requestCommand(),
  "serve-rpc": async () => (await import("./serve-rpc.ts")).serveRpcCommand(),
  blob: async () => (await import("./blob.ts")).blobCommand(),
  chat: async () => (await import("./chat.ts")).chatCommand(),
  worker: async () => (await import("./worker.ts")).workerCommand(),
  demo: async () => (await import("./demo.ts")).demoCommand(),
  completion: async () => (await import("./completion.ts")).completionCommand(() => makeProgram(undefined)),
  vectors: async () => (await import("./vectors.ts")).vectorsCommand(),
  version: async () => new Command("version").description("print the version").action(() => printLine(version)),
};

/** Over which commands of the help a heading stands: over the named one and those that follow it. */
const headings: Readonly<Record<string, string>> = {
  serve: "On a data directory:",
  identity: "As a peer:",
  demo: "Besides:",
};

/** The program with the command that a line begins with; with all of them for help and for mistakes. */
async function makeProgram(first: string | undefined): Promise<Command> {
  const program = new Command("unibus")
    .description("an end-to-end-encrypted message bus in one executable")
    .helpCommand(false)
    .addHelpText("beforeAll", ({ error }) => (error ? "error: no command was named (choose one of these)\n" : ""));
  const named = Object.entries(commands).filter(([name]) => name === first);
  for (const [name, load] of named.length > 0 ? named : Object.entries(commands)) {
    if (headings[name] !== undefined) program.commandsGroup(headings[name]);
    program.addCommand(await load());
  }
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
  process.stderr.write(`error: ${safeText(message.replaceAll("\n", " "))}\n`);
  for (let at = error; process.env.UNIBUS_DEBUG && at instanceof Error; at = at.cause) {
    process.stderr.write(`${at.stack ?? at.message}\n`);
  }
}

/** Runs one command line and gives its exit code. What it printed has been taken by then. */
export async function run(argv: readonly string[]): Promise<number> {
  const program = await makeProgram(argv[0]);
  try {
    await program.parseAsync(argv, { from: "user" });
    await writeOut("");
    return exit.done;
  } catch (error) {
    if (error instanceof Interrupted) return error.exitCode;
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
