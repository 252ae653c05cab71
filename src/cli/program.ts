import { Command, CommanderError, InvalidArgumentError } from "commander";
import { isUnibusError } from "../wire/errors.ts";
import { CliCommand } from "./cli-command.ts";
import { Interrupted } from "./interrupt.ts";
import { checkStdout, flushOut, printError } from "./print.ts";
import { version } from "./version.ts";

/** Exit codes. */
const exit = { done: 0, failed: 1, usage: 2 } as const;

/** The commands in the order of the help. Each is loaded on demand, so that `serve` does not load what others need. */
const commands: Readonly<Record<string, () => Promise<CliCommand>>> = {
  serve: async () => (await import("./server/serve.ts")).serveCommand(),
  plan: async () => (await import("./server/plan.ts")).planCommand(),
  user: async () => (await import("./server/user.ts")).userCommand(),
  invite: async () => (await import("./server/invite.ts")).inviteCommand(),
  doctor: async () => (await import("./server/doctor.ts")).doctorCommand(),
  bot: async () => (await import("./server/bot.ts")).botCommand(),
  backup: async () => (await import("./server/backup.ts")).backupCommand(),
  restore: async () => (await import("./server/restore.ts")).restoreCommand(),
  "way-back": async () => (await import("./server/way-back.ts")).wayBackCommand(),
  "migrate-to-kv": async () => (await import("./server/migrate-to-kv.ts")).migrateToKvCommand(),
  "migrate-to-sqlite": async () => (await import("./server/migrate-to-sqlite.ts")).migrateToSqliteCommand(),
  cluster: async () => (await import("./server/cluster.ts")).clusterCommand(),
  identity: async () => (await import("./peer/identity.ts")).identityCommand(),
  join: async () => (await import("./peer/join.ts")).joinCommand(),
  use: async () => (await import("./peer/use.ts")).useCommand(),
  whoami: async () => (await import("./peer/whoami.ts")).whoamiCommand(),
  directory: async () => (await import("./peer/directory.ts")).directoryCommand(),
  rooms: async () => (await import("./peer/rooms.ts")).roomsCommand(),
  room: async () => (await import("./peer/room.ts")).roomCommand(),
  dm: async () => (await import("./peer/dm.ts")).dmCommand(),
  send: async () => (await import("./peer/send.ts")).sendCommand(),
  edit: async () => (await import("./peer/edit.ts")).editCommand(),
  delete: async () => (await import("./peer/edit.ts")).deleteCommand(),
  react: async () => (await import("./peer/react.ts")).reactCommand(),
  pin: async () => (await import("./peer/pin.ts")).pinCommand(),
  title: async () => (await import("./peer/title.ts")).titleCommand(),
  tail: async () => (await import("./peer/tail.ts")).tailCommand(),
  history: async () => (await import("./peer/history.ts")).historyCommand(),
  wait: async () => (await import("./peer/wait.ts")).waitCommand(),
  request: async () => (await import("./peer/request.ts")).requestCommand(),
  "serve-rpc": async () => (await import("./peer/serve-rpc.ts")).serveRpcCommand(),
  blob: async () => (await import("./peer/blob.ts")).blobCommand(),
  file: async () => (await import("./peer/file.ts")).fileCommand(),
  chat: async () => (await import("./peer/chat.ts")).chatCommand(),
  worker: async () => (await import("./peer/worker.ts")).workerCommand(),
  admin: async () => (await import("./admin/admin.ts")).adminCommand(),
  demo: async () => (await import("./demo.ts")).demoCommand(),
  completion: async () => (await import("./completion.ts")).completionCommand(() => makeProgram()),
  vectors: async () => (await import("./vectors.ts")).vectorsCommand(),
  licenses: async () => (await import("./licenses.ts")).licensesCommand(),
  version: async () => (await import("./version.ts")).versionCommand(),
  help: async () => (await import("./help.ts")).helpCommand(() => makeProgram()),
};

/** Headings in the help. Each covers the named command and those after it. */
const headings: Readonly<Record<string, string>> = {
  serve: "Server commands (on the host):",
  identity: "Client commands, about you and the bus:",
  rooms: "Client commands, in rooms:",
  admin: "Admin commands (from anywhere):",
  demo: "Other commands:",
};

/** The commands that a command line needs: the one that it names, none for the version, else all, as for the help. */
function commandsFor(first: string | undefined): [name: string, load: () => Promise<CliCommand>][] {
  if (first === "-v" || first === "--version") return [];
  const named = Object.entries(commands).filter(([name]) => name === first);
  return named.length > 0 ? named : Object.entries(commands);
}

/** Creates the program with only the named command, or with all commands for help and unknown names. */
export async function makeProgram(first?: string, onJson = false): Promise<Command> {
  const program = new Command("unibus")
    .description("An end-to-end-encrypted message bus in one executable. See it work: unibus demo")
    .version(version, "-v, --version", "print the version")
    .helpCommand(false)
    .addHelpText("beforeAll", ({ error }) => (error ? "error: no command given (choose one of these)\n" : ""));
  for (const [name, load] of commandsFor(first)) {
    if (headings[name] !== undefined) program.commandsGroup(headings[name]);
    program.addCommand(await load());
  }
  configure(program, onJson);
  return program;
}

/** Makes every command throw usage errors, adds `--json` where it is missing, and ends its help with its example. */
function configure(command: Command, onJson: boolean, path = command.name()): void {
  command.exitOverride();
  // `run` prints the error as JSON.
  command.configureOutput({
    writeErr: onJson ? () => undefined : printError,
    outputError: (text, write) => write(usageText(text)),
  });
  if (!onJson) command.showHelpAfterError(`(see ${path} --help)`);
  const isLeaf = command.commands.length === 0;
  if (isLeaf && !command.options.some(({ long }) => long === "--json"))
    command.option("--json", "print errors as JSON");
  if (command instanceof CliCommand) command.addHelpText("after", `\nExample: ${command.example}`);
  for (const inner of command.commands) configure(inner, onJson, `${path} ${inner.name()}`);
}

/** Whether a command line asks for JSON. Arguments after `--` do not count. */
function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  return argv.slice(0, end === -1 ? argv.length : end).includes("--json");
}

/** Prints an error as one line, or as `{"error", "code"}`. */
function reportError(error: string, code: string, onJson: boolean): void {
  const message = error.replaceAll("\n", " ");
  printError(onJson ? { error: message, code } : `error: ${message}\n`);
}

/** Prints an error; with UNIBUS_DEBUG also its stack traces. */
function reportFailure(error: unknown, onJson: boolean): void {
  const message = isUnibusError(error) ? error.message : `internal error: ${(error as Error)?.message ?? error}`;
  reportError(message, isUnibusError(error) ? error.code : "internal", onJson);
  for (let at = error; process.env.UNIBUS_DEBUG && at instanceof Error; at = at.cause) {
    printError(`${at.stack ?? at.message}\n`);
  }
}

/** The most characters of a given value that an error shows. */
const shownMax = 100;

/** Cuts a given value that is too long to be shown. */
const shown = (value: string): string => (value.length > shownMax ? `${value.slice(0, shownMax)}…` : value);

/** Rewords an error of commander: what is wrong with the given value, then the fix. */
function usageText(text: string): string {
  return text
    .replace(/command-argument value '(.*)' is invalid for argument '(\w+)'\. (\w+)/s, (_, value, name, word) =>
      // A reason that names the argument is complete by itself.
      word === name ? word : `${name} ${JSON.stringify(shown(value))} is invalid: ${word}`,
    )
    .replace(/ argument '(.*)' is invalid\. /s, (_, value) => ` argument '${shown(value)}' is invalid. `)
    .replace(
      /too many arguments for '(.+)'\. Expected (\d+) arguments? but got (\d+)\./,
      "too many arguments for '$1': $3 instead of $2 (remove some, or put a text with spaces in quotes)",
    );
}

/** Prints a usage error. */
function reportUsage(error: Error, onJson: boolean): void {
  const isHelp = error instanceof CommanderError && error.code === "commander.help";
  const message = isHelp ? "no command given (see unibus --help)" : usageText(error.message.replace(/^error: /, ""));
  if (onJson) reportError(message, "invalid", true);
  // Commander has already printed its own errors.
  else if (error instanceof InvalidArgumentError) printError(`error: ${message}\n(see --help)\n`);
}

/** Runs one command line and returns its exit code, after all output was written. */
export async function run(argv: readonly string[]): Promise<number> {
  const onJson = wantsJson(argv);
  const program = await makeProgram(argv[0], onJson);
  try {
    // A server may run without stdout.
    if (argv[0] !== "serve") checkStdout();
    await program.parseAsync(argv, { from: "user" });
    await flushOut();
    return exit.done;
  } catch (error) {
    if (error instanceof Interrupted) return error.exitCode;
    if (error instanceof CommanderError) {
      // Commander also throws after printing help or the version.
      if (error.exitCode === 0) return exit.done;
      reportUsage(error, onJson);
      return exit.usage;
    }
    reportFailure(error, onJson);
    return exit.failed;
  }
}
