import { Snapshot } from "../../contracts/store.ts";
import { CliCommand } from "../cli-command.ts";
import { printFields, printNote } from "../print.ts";
import { Progress } from "../progress.ts";
import { besideBackup, writeBackup } from "./backup-file.ts";
import { type HostOptions, hostCommand, onHost } from "./host.ts";

async function backup({ out, ...options }: HostOptions & { readonly out: string }): Promise<void> {
  using progress = new Progress("rows");
  const done = await onHost(options, Snapshot, (store) => writeBackup(out, store.exportAll(), progress.report));
  printFields({ file: out, ...done }, options);
  if (!options.json) printNote(`not in this file, also copy: ${besideBackup}; and denials, often`);
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
      "\nIn the file: users with their public keys, invites, rooms with all their members, statements, and room keys\n" +
        "as they are sealed to members. It contains no private key and no message, but reveals who is in which room:\n" +
        "keep it private. `unibus restore` reads it into the empty store of any data directory, SQLite or key-value.\n" +
        "\nNot in the file, copy them yourself:\n" +
        "  nats/store     messages, positions of durables; while the server is stopped (or see docs/backup.md)\n" +
        "  internal.json  the credentials of nats-server; with nats/store (if missing, a start makes new ones)\n" +
        "  blobs          files; with --flag decentralized=on they are in nats/store\n" +
        "  denials        who was revoked or removed since, once anyone was; copy it often (denials.copy_to does)\n" +
        "  plugins.json   your configuration; also the unit file, TLS files and the secret of a cluster",
    )
    .action(backup);
}
