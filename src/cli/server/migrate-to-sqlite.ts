import { closeSync, existsSync, fsyncSync, linkSync, openSync, rmSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { UnibusError } from "../../wire/errors.ts";
import { CliCommand } from "../cli-command.ts";
import { printFields, printNote } from "../print.ts";
import { isServed } from "./data-dir.ts";
import { copyBlobs, copyRows, countDifferences, countRows } from "./migrate-copy.ts";
import {
  fileSetup,
  keyValueOptions,
  type MigrateOptions,
  type OpenEnd,
  openFile,
  openKeyValue,
} from "./migrate-ends.ts";
import { noteBrought, storeOf } from "./store-record.ts";

function isThere(file: string): UnibusError {
  return new UnibusError("conflict", `${file} exists (it is never overwritten: name another file with --db)`);
}

/** Removes an unfinished database with its -wal and -shm files. */
function removeDraft(draft: string): void {
  for (const end of ["", "-wal", "-shm"]) rmSync(`${draft}${end}`, { force: true });
}

/** Renames a finished database to its final name, which must not exist. */
function publish(draft: string, file: string): void {
  try {
    linkSync(draft, file);
  } catch (cause) {
    if ((cause as { code?: string }).code === "EEXIST") throw isThere(file);
    throw new UnibusError("invalid", `${file} cannot be written (name another place with --db)`, { cause });
  }
  const folder = openSync(dirname(resolve(file)), "r");
  fsyncSync(folder);
  closeSync(folder);
}

/** Fills a draft from the key-value store. Errors: conflict if they differ afterwards; the draft is then removed. */
async function fill(draft: string, from: OpenEnd, options: MigrateOptions): Promise<void> {
  const counts = await countRows(from.snapshot);
  const to = await openFile(draft, from.blobs !== undefined);
  try {
    await copyRows(from.snapshot, to.snapshot, counts.rows);
    const { lost = 0, ...blobs } =
      from.blobs === undefined || to.blobs === undefined ? {} : await copyBlobs(from.blobs, to.blobs);
    const differences = await countDifferences(from.snapshot, to.snapshot);
    const equal = differences + lost === 0;
    printFields({ ...counts, ...blobs, differences, equal }, options);
    if (equal) return;
    const hint = "stop the nodes of the bus, so that nothing changes, and run this again";
    throw new UnibusError(
      "conflict",
      `the copy does not match its source: ${differences} rows, ${lost} blobs (${hint})`,
    );
  } finally {
    await to.close();
  }
}

async function toSqlite(options: MigrateOptions): Promise<void> {
  const { db } = options;
  if (existsSync(db)) throw isThere(db);
  if (isServed(options.data)) printNote("a server runs on this bus: changes from now on may not be copied");
  const draft = `${db}.part`;
  removeDraft(draft);
  const from = await openKeyValue(options);
  try {
    await fill(draft, from, options);
    publish(draft, db);
    if (dirname(resolve(db)) === resolve(options.data)) {
      noteBrought(options.data, from.store, await storeOf(await fileSetup(db)));
    }
  } finally {
    await from.close();
    removeDraft(draft);
  }
}

/** The command `migrate-to-sqlite`. */
export function migrateToSqliteCommand(): CliCommand {
  const command = new CliCommand("migrate-to-sqlite", {
    summary: "copy users, invites, rooms and blobs from key-value buckets to a new SQLite database, and compare",
    example: "unibus migrate-to-sqlite --db copy/unibus.db",
  }).requiredOption("--db <file>", "the database to create; its blobs go into the folder blobs beside it");
  return keyValueOptions(command)
    .addHelpText(
      "after",
      "\nThe buckets are not changed. Without --nats-url they are those of the data directory, whether its server runs\n" +
        "or not. With --nats-url, --data names the data directory of a node of that bus, which contains the credentials\n" +
        "(internal.json). Messages stay where they are, in nats-server.",
    )
    .action(toSqlite);
}
