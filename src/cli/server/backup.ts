import { Snapshot } from "../../contracts/store.ts";
import { CliCommand } from "../cli-command.ts";
import { printFields, printNote } from "../print.ts";
import { Progress } from "../progress.ts";
import { writeBackup } from "./backup-file.ts";
import { type HostOptions, hostCommand, onHost } from "./host.ts";

async function backup({ out, ...options }: HostOptions & { readonly out: string }): Promise<void> {
  using progress = new Progress("rows");
  const done = await onHost(options, Snapshot, (store) => writeBackup(out, store.exportAll(), progress.report));
  printFields({ file: out, ...done }, options);
  if (!options.json) printNote("it does not contain messages and blobs: also copy <data>/nats/store and <data>/blobs");
}

/** The command `backup`. */
export function backupCommand(): CliCommand {
  return hostCommand(
    new CliCommand("backup", {
      summary: "write users, invites and rooms to a file, even while the server runs",
      example: "unibus backup --data /var/lib/unibus --out backup.jsonl",
    }),
  )
    .requiredOption("--out <file>", "the file to write; it is never overwritten")
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      "\nThe file holds public keys, room keys as they are sealed to members, and statements: no private key and no\n" +
        "message. It reveals who is in which room, so keep it private. `unibus restore` reads it into the empty store\n" +
        "of any data directory, SQLite or key-value. Messages and blobs are separate files.",
    )
    .action(backup);
}
