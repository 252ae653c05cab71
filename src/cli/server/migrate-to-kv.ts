import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { UnibusError } from "../../wire/errors.ts";
import { CliCommand } from "../cli-command.ts";
import { printFields, printNote } from "../print.ts";
import { replicasArgument } from "./cluster.ts";
import { isServed } from "./data-dir.ts";
import { clearTarget, copyBlobs, copyRows, countBlobs, countDifferences, countRows } from "./migrate-copy.ts";
import { keyValueOptions, type MigrateOptions, type OpenEnd, openFile, openKeyValue } from "./migrate-ends.ts";
import { noteBrought } from "./store-record.ts";

interface ToKvOptions extends MigrateOptions {
  /** False with --no-backup. */
  readonly backup: boolean;
  readonly dryRun?: boolean;
}

/** Copies the database next to itself before anything else. Returns the copy's name. */
async function keepCopy(from: OpenEnd, file: string): Promise<string> {
  const stamp = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const copy = `${file}.before-kv-${stamp}`;
  await from.snapshot.backup(copy);
  printNote(`copied the database to ${copy}`);
  return copy;
}

/** The name of the source store if it is in the data directory. */
function nameIn({ data, db }: ToKvOptions, { store }: OpenEnd): string | null {
  return dirname(resolve(db)) === resolve(data) ? store : null;
}

/** Copies one side to the other and compares them. Errors: conflict if they differ afterwards. */
async function bring(from: OpenEnd, options: ToKvOptions): Promise<void> {
  const counts = await countRows(from.snapshot);
  if (options.dryRun) {
    const blobs = from.blobs === undefined ? 0 : await countBlobs(from.blobs);
    printFields({ ...counts, blobs, written: false }, options);
    return;
  }
  const copy = options.backup ? { backup: await keepCopy(from, resolve(options.db)) } : {};
  const to = await openKeyValue(options);
  try {
    await clearTarget(from.snapshot, to);
    await copyRows(from.snapshot, to.snapshot, counts.rows);
    const blobs = from.blobs === undefined || to.blobs === undefined ? null : await copyBlobs(from.blobs, to.blobs);
    if (blobs === null && from.blobs !== undefined)
      printNote("no plugin of the target stores blobs: they are not copied");
    const differences = await countDifferences(from.snapshot, to.snapshot);
    const { lost = 0, ...brought } = blobs ?? {};
    printFields({ ...counts, ...brought, ...copy, differences, equal: differences + lost === 0 }, options);
    if (differences + lost === 0) return noteBrought(options.data, nameIn(options, from), to.store);
    const hint = "stop the server on the database, so that nothing changes, and run this again";
    throw new UnibusError(
      "conflict",
      `the copy does not match its source: ${differences} rows, ${lost} blobs (${hint})`,
    );
  } finally {
    await to.close();
  }
}

async function toKv(options: ToKvOptions): Promise<void> {
  const { db } = options;
  if (!existsSync(db)) throw new UnibusError("not_found", `no such database: ${db} (name it with --db)`);
  const folder = dirname(resolve(db));
  if (isServed(folder)) printNote("a server runs on this database: changes from now on may not be copied");
  const from = await openFile(db, existsSync(join(folder, "blobs")));
  try {
    await bring(from, options);
  } finally {
    await from.close();
  }
}

/** The command `migrate-to-kv`. */
export function migrateToKvCommand(): CliCommand {
  const command = new CliCommand("migrate-to-kv", {
    summary: "copy users, invites, rooms and blobs from a SQLite database to key-value buckets, and compare",
    example: "unibus migrate-to-kv --db unibus-data/unibus.db --dry-run",
  })
    .requiredOption("--db <file>", "the database, whose blobs are in the folder beside it")
    .option(
      "--replicas <n>",
      "replicas of each new bucket, 1 to 5 (default: the setting store-kv.replicas, or 1)",
      replicasArgument,
    )
    .option("--no-backup", "do not copy the database first (default: copy it)")
    .option("--dry-run", "print what would be copied, and write nothing");
  return keyValueOptions(command)
    .addHelpText(
      "after",
      "\nWithout --nats-url, the target is the data directory as it would run with --flag decentralized=on; stop its\n" +
        "server first. With --nats-url, --data names the data directory of a node of the target bus, which contains\n" +
        "the credentials (internal.json). You can run the command again: equal rows are kept, and a target with newer\n" +
        "rows is refused. Messages stay where they are, in nats-server.",
    )
    .action(toKv);
}
