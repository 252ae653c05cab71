/**
 * The command `restore`: restores a backup into an empty store. Because a backup is older than the present, a restore
 * does two more things: it applies the denials recorded since (see restore-rules.ts), and it opens the way back, by
 * which owners return the newer versions of their rooms to the bus.
 * The backup is read completely before anything is written. An interrupted restore can be run again.
 */
import { InvalidArgumentError } from "commander";
import type { Denial } from "../../contracts/denials.ts";
import { InviteStore, Snapshot, type SnapshotRow, type UserRecord } from "../../contracts/store.ts";
import { WayBackStore, wayBackDays } from "../../contracts/way-back.ts";
import { UnibusError } from "../../wire/errors.ts";
import { keyPattern, normalKey } from "../../wire/names.ts";
import { CliCommand } from "../cli-command.ts";
import { confirm } from "../confirm.ts";
import { printFields, printNote } from "../print.ts";
import { Progress } from "../progress.ts";
import { backupTime, besideBackup, readBackup } from "./backup-file.ts";
import { type Difference, differences, RowCounter, type RowCounts, rowText } from "./backup-rows.ts";
import { keepDenials, ownDenials, readDenials } from "./denial-files.ts";
import { bootOnHost, type HostOptions, hostCommand, hostSetup } from "./host.ts";
import { voidInvites } from "./migrate-copy.ts";
import { type RestoreChanges, type RestoreRules, ruledRows } from "./restore-rules.ts";

type RoomRow = Extract<SnapshotRow, { readonly kind: "room" }>;

interface RestoreOptions extends HostOptions {
  readonly denials?: readonly string[];
  readonly admin?: readonly string[];
  readonly revoke?: readonly string[];
  readonly trustUsers?: boolean;
  readonly yes?: boolean;
}

/** Whether a row of the store was left by an interrupted restore of the same backup. */
function isHalfway({ here, there }: Difference): boolean {
  if (here?.kind !== "room" || there?.kind !== "room") return false;
  // Derived fields of a room are wrong until all its members are restored.
  const plain = ({ room }: RoomRow) => rowText({ kind: "room", room: { ...room, rekeyPending: false } });
  return plain(here) === plain(there);
}

function notEmpty(name: string): UnibusError {
  const hint = "name an empty data directory with --data; nothing was changed";
  const what = `the store is not empty: it contains ${name}, which the backup does not`;
  return new UnibusError("conflict", `${what} (${hint})`);
}

/**
 * The ids of unused invites in the store: those of the first admin of a bus without users.
 * Errors: conflict if the store contains anything else that is not in the backup.
 */
async function invitesInTheWay(rows: () => AsyncIterable<SnapshotRow>, store: Snapshot): Promise<string[]> {
  const counter = new RowCounter();
  const ids: string[] = [];
  for await (const difference of differences(rows(), counter.pass(store.exportAll()))) {
    const { name, here, there } = difference;
    if (there === null || isHalfway(difference)) continue;
    const isUnused = here === null && there.kind === "invite" && there.invite.usedAt === null;
    if (!isUnused || counter.counts.users > 0) throw notEmpty(name);
    ids.push(there.invite.id);
  }
  return ids;
}

/** What a restore will do, found by reading the whole backup, so that nothing of a truncated backup is written. */
interface Preview {
  readonly rules: RestoreRules;
  readonly counts: RowCounts;
  readonly changes: RestoreChanges;
  readonly users: readonly UserRecord[];
}

async function preview(file: string, rules: RestoreRules): Promise<Preview> {
  const counter = new RowCounter();
  const users: UserRecord[] = [];
  let changes: RestoreChanges | null = null;
  using progress = new Progress("checked rows");
  const rows = ruledRows(readBackup(file), rules, (made) => {
    changes = made;
  });
  for await (const row of counter.pass(rows, progress.report)) if (row.kind === "user") users.push(row.user);
  if (changes === null) throw new UnibusError("internal", "the backup was not read to its end");
  return { rules, counts: counter.counts, changes, users };
}

/** Checks the keys on the command line against the backup. Errors: invalid. */
function checkNamed({ rules, changes, users }: Preview): void {
  for (const key of rules.admins ?? []) {
    if (changes.admins.some(({ signPub }) => signPub === key)) continue;
    throw new UnibusError("invalid", `--admin ${key} is not an active admin of this backup (name one of its admins)`);
  }
  for (const key of rules.revoked) {
    if (users.some(({ signPub }) => signPub === key) || changes.deleted.some(({ signPub }) => signPub === key))
      continue;
    throw new UnibusError("invalid", `--revoke ${key} is not a user of this backup (check the key)`);
  }
}

const userLine = ({ handle, role, status, signPub }: UserRecord): string =>
  `  ${signPub}  ${role}  ${status}  ${handle}`;

/** Prints a titled list of users or rooms, unless it is empty. */
function printList(title: string, lines: readonly string[]): void {
  if (lines.length === 0) return;
  printNote(`${title}:`);
  for (const line of lines) printNote(line);
}

/** Prints, before anything is written, what the restore changes and what users will notice. */
function explain({ rules, changes, users }: Preview): void {
  printNote(`this backup was taken at ${new Date(rules.takenAt).toISOString()}.`);
  printNote(
    "Rooms that changed since then are older here than in their members' clients, which refuse them as forked until " +
      "an owner restores the lost changes (unibus room repair ROOM, within " +
      `${wayBackDays} days). Messages since then are lost unless their streams are restored, too.`,
  );
  printList("deleted since, and not restored", changes.deleted.map(userLine));
  printList("revoked", changes.revoked.map(userLine));
  printList("admins who become plain members", changes.demoted.map(userLine));
  printList(
    "rooms that were deleted since",
    changes.deletedRooms.map((id) => `  ${id}`),
  );
  if (changes.cancelled.length > 0) printNote(`cancelled invites: ${changes.cancelled.length}`);
  if (changes.left.length > 0) printNote(`memberships that ended since: ${changes.left.length}`);
  if (rules.denials === null) printList("users", users.map(userLine));
  printList("admins", changes.admins.map(userLine));
  if (changes.admins.length === 0) printNote("there will be no admin: the next start prints a link to become one");
}

/** Asks for confirmation before anything is written. Errors: invalid, conflict if it must not continue. */
async function ask({ rules }: Preview, options: RestoreOptions): Promise<void> {
  if (options.trustUsers) return;
  if (rules.denials === null) {
    throw new UnibusError(
      "invalid",
      "no denials were found: users who were revoked, deleted or removed since the backup would be admitted again " +
        "(add --denials FILE; or check the users above, revoke some with --revoke SIGN_PUB, name the admins with " +
        "--admin SIGN_PUB, and add --trust-users)",
    );
  }
  if (!options.yes) await confirm("restore these users, with these admins?");
}

/** Turns the decisions of a restore into denials, so that a later restore of the same backup keeps to them. */
function decisionsOf({ rules, changes }: Preview): Denial[] {
  const at = rules.takenAt;
  const named = changes.revoked.filter(({ signPub }) => rules.revoked.includes(signPub));
  return [
    ...named.map(({ signPub }) => ({ kind: "user-revoked" as const, key: signPub, at })),
    ...changes.demoted.map(({ signPub }) => ({ kind: "admin-lost" as const, key: signPub, at })),
    ...(rules.denials === null ? changes.cancelled : []).map(({ id }) => ({
      kind: "invite-cancelled" as const,
      key: id,
      at,
    })),
  ];
}

function rulesOf(options: RestoreOptions, takenAt: number): RestoreRules {
  const own = ownDenials(options.data);
  const files = [...(options.denials ?? []), ...(own === null ? [] : [own])];
  const admins = options.admin?.map(normalKey) ?? null;
  return {
    denials: files.length === 0 ? null : readDenials(files),
    admins,
    revoked: options.revoke?.map(normalKey) ?? [],
    takenAt,
  };
}

async function write(file: string, found: Preview, options: RestoreOptions): Promise<number> {
  const { rules, counts, changes } = found;
  const rows = () => ruledRows(readBackup(file), rules);
  const { bus, lock } = await bootOnHost(await hostSetup(options), [Snapshot, InviteStore, WayBackStore]);
  try {
    const [store, invites] = [bus.service(Snapshot), bus.service(InviteStore)];
    const wayBack = bus.service(WayBackStore);
    if (store === undefined || invites === undefined || wayBack === undefined) {
      throw new UnibusError("invalid", "no plugin provides a store (see unibus plan)");
    }
    await voidInvites(invites, await invitesInTheWay(rows, store));
    keepDenials(bus.site.dataDir, [...(rules.denials ?? []), ...decisionsOf(found)]);
    await wayBack.denyStays(changes.unknownStays);
    {
      using progress = new Progress("rows", counts.rows);
      await store.importAll(new RowCounter().pass(rows(), progress.report));
    }
    for await (const difference of differences(rows(), store.exportAll())) {
      if (isHalfway(difference)) continue;
      const hint = "if the bus was used during the restore, stop it and restore into an empty data directory";
      throw new UnibusError("conflict", `the store differs from the backup in ${difference.name} (${hint})`);
    }
    const openedAt = Date.now();
    const closesAt = openedAt + wayBackDays * 86_400_000;
    await wayBack.openWayBack({ openedAt, closesAt });
    return closesAt;
  } finally {
    await bus.stop();
    lock?.release();
  }
}

async function restore(file: string, options: RestoreOptions): Promise<void> {
  const found = await preview(file, rulesOf(options, await backupTime(file)));
  checkNamed(found);
  explain(found);
  await ask(found, options);
  const closesAt = await write(file, found, options);
  const way_back_until = new Date(closesAt).toISOString();
  printFields({ file, ...found.counts, way_back_until }, options);
  if (!options.json) printNote(`before you start the server, also put back: ${besideBackup}`);
}

const keyShape = new RegExp(keyPattern);

/** Returns a parser that collects the values of a repeated option. */
function gathered(check: (value: string) => boolean, wanted: string) {
  return (value: string, before: readonly string[] = []): string[] => {
    if (!check(value)) throw new InvalidArgumentError(wanted);
    return [...before, value];
  };
}

/** The command `restore`. */
export function restoreCommand(): CliCommand {
  const keys = gathered((value) => keyShape.test(value), "A sign_pub has 64 hex digits.");
  return hostCommand(
    new CliCommand("restore", {
      summary: "restore a backup into an empty store, SQLite or key-value",
      example: "unibus restore --data ./unibus-data --denials /backup/denials backup.jsonl",
    }),
  )
    .argument("<file>", "a file that unibus backup wrote")
    .option(
      "--denials <file>",
      "a file of denials (revocations and the like) since the backup; repeatable",
      gathered(Boolean, "Name a file."),
    )
    .option("--admin <sign_pub>", "an admin to keep as an admin; repeatable", keys)
    .option("--revoke <sign_pub>", "a user to revoke; repeatable", keys)
    .option("--trust-users", "continue without denials, with the users that are listed")
    .option("--yes", "do not ask, if there are denials")
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      "\nUsers who were revoked, deleted or removed since the backup stay out because of the denials. The file in the\n" +
        "data directory is always read; name others with --denials. If there are none, the command lists every user,\n" +
        "cancels all pending invites, makes all admins plain members except those of --admin, and requires\n" +
        "--trust-users.\n" +
        "\nA store with other content is refused. An interrupted restore of the same file is completed.\n" +
        "\nA backup has users, invites, rooms, members, statements and sealed keys, and nothing else. Before you start\n" +
        "the server, put into the data directory, from one copy that was made while the server was stopped:\n" +
        "  nats/store     messages, positions of durables\n" +
        "  internal.json  the credentials of nats-server; with nats/store (if missing, a start makes new ones)\n" +
        "  blobs          files\n" +
        "and your plugins.json. Rooms without their messages begin empty; messages of rooms that the server does not\n" +
        "know are removed. With --flag decentralized=on, nats/store has the users and rooms as well: for messages use a\n" +
        "copy of the whole directory, or the program in docs/backup.md.",
    )
    .action(restore);
}
