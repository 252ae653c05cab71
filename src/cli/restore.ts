import { Command } from "commander";
import { InviteStore, Snapshot, type SnapshotRow } from "../contracts/store.ts";
import { UnibusError } from "../wire/errors.ts";
import { readBackup } from "./backup-file.ts";
import { type Difference, differences, RowCounter, rowText } from "./backup-rows.ts";
import { bootOnHost, type HostOptions, hostCommand, hostSetup } from "./host.ts";
import { voidInvites } from "./migrate-copy.ts";
import { printFields, printNote } from "./print.ts";
import { Progress } from "./progress.ts";

type RoomRow = Extract<SnapshotRow, { readonly kind: "room" }>;

/** Whether a row of the store is what a restore of the same backup that broke off has left. */
function isHalfway({ here, there }: Difference): boolean {
  if (here?.kind !== "room" || there?.kind !== "room") return false;
  // What a room derives from its members is not right before all of them are there.
  const plain = ({ room }: RoomRow) => rowText({ kind: "room", room: { ...room, rekeyPending: false } });
  return plain(here) === plain(there);
}

function notEmpty(name: string): UnibusError {
  const mend = "name an empty data directory with --data; nothing was changed";
  return new UnibusError("conflict", `the store is not empty: it holds ${name}, which the backup does not (${mend})`);
}

/**
 * The ids of the invites in a store that are in the way, which are the first admin's of a bus that nobody uses yet.
 * Errors: conflict when anything else is there that is not of this backup.
 */
async function invitesInTheWay(file: string, store: Snapshot): Promise<string[]> {
  const counter = new RowCounter();
  const ids: string[] = [];
  for await (const difference of differences(readBackup(file), counter.pass(store.exportAll()))) {
    const { name, here, there } = difference;
    if (there === null || isHalfway(difference)) continue;
    const isUnused = here === null && there.kind === "invite" && there.invite.usedAt === null;
    if (!isUnused || counter.counts.users > 0) throw notEmpty(name);
    ids.push(there.invite.id);
  }
  return ids;
}

async function restore(file: string, options: HostOptions): Promise<void> {
  const counter = new RowCounter();
  {
    // To its end first: nothing is written of one that is cut.
    using progress = new Progress("checked rows");
    for await (const _ of counter.pass(readBackup(file), progress.tell));
  }
  const { bus, lock } = await bootOnHost(await hostSetup(options), [Snapshot, InviteStore]);
  try {
    const [store, invites] = [bus.service(Snapshot), bus.service(InviteStore)];
    if (store === undefined || invites === undefined) {
      throw new UnibusError("invalid", "no plugin provides a store (see unibus plan)");
    }
    await voidInvites(invites, await invitesInTheWay(file, store));
    {
      using progress = new Progress("rows", counter.counts.rows);
      await store.importAll(new RowCounter().pass(readBackup(file), progress.tell));
    }
    for await (const { name } of differences(readBackup(file), store.exportAll())) {
      const mend = "was the bus used meanwhile? stop it and restore into an empty data directory";
      throw new UnibusError("conflict", `the store differs from the backup in ${name} (${mend})`);
    }
    printFields({ file, ...counter.counts }, options);
    if (!options.json)
      printNote("room streams and blobs are not in a backup: bring back <data>/nats/store and <data>/blobs");
  } finally {
    await bus.stop();
    lock?.release();
  }
}

/** `restore`. Source: spec 10, 14. */
export function restoreCommand(): Command {
  return hostCommand(new Command("restore"))
    .description("bring a backup into an empty store, of either kind")
    .argument("<file>", "what unibus backup wrote")
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      "\nA store that holds anything else is left as it is. One that a restore of the same file left half done is\n" +
        "completed. Messages and blobs are no part of a backup: put <data>/nats/store and <data>/blobs back before the\n" +
        "bus is served, which removes streams of rooms that it does not know.",
    )
    .action(restore);
}
