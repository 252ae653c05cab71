import { chargesOf, payerOf } from "../../../contracts/rows.ts";
import type {
  RoomRecord,
  SealedKeyRecord,
  SnapshotRoom,
  StatementRecord,
  StayRecord,
} from "../../../contracts/store.ts";
import { sideBySide } from "../../../lib/side-by-side.ts";
import { UnibusError } from "../../../wire/errors.ts";
import { statementLines } from "../../../wire/statement.ts";
import { PageGone } from "./pages.ts";
import {
  chargedTo,
  type EpochKeys,
  fileOf,
  isLeaving,
  type RoomBuckets,
  type RoomHead,
  recordOf,
  revisionOf,
  sealedKeys,
  unacceptedStay,
} from "./room-head.ts";
import type { RoomIndex } from "./room-index.ts";

const epochLine = statementLines.indexOf("epoch");

/** A room with all its parts. */
export interface WholeRoom<Room extends SnapshotRoom = RoomRecord> {
  readonly room: Room;
  readonly stays: readonly StayRecord[];
  readonly keys: readonly SealedKeyRecord[];
  readonly statements: readonly StatementRecord[];
}

/** The keys of every epoch of a room, newest first. Errors: PageGone. */
export async function allKeys(kv: RoomBuckets, entry: RoomHead): Promise<EpochKeys[]> {
  const all: EpochKeys[] = [];
  for (let at = entry.keys; at !== null; ) {
    all.push(at);
    if (at.older === null) break;
    at = (await kv.filedKeys.get(kv.epochKey(entry, at.older))).value;
    if (at === null) throw new PageGone(`keys of ${entry.room.roomId}`);
  }
  return all;
}

/** Reads a room with all the parts that one room head references, each sorted. Errors: PageGone. */
export async function wholeOf(kv: RoomBuckets, entry: RoomHead): Promise<WholeRoom> {
  const { roomId } = entry.room;
  const [stays, epochs, statements] = await Promise.all([
    kv.stays.all(roomId, entry.stays),
    allKeys(kv, entry),
    kv.statementsOf(entry, 1, entry.room.version),
  ]);
  const signers = signersOf(statements);
  const keys: SealedKeyRecord[] = [];
  for (const one of epochs) {
    const by = one.by ?? signers.get(one.epoch);
    const epoch = by === undefined ? one : { ...one, by };
    for (const key of await kv.keys.all(roomId, one.pages)) {
      const { endpoint, sealedKey } = key;
      keys.push({ endpoint, sealedKey, epoch: one.epoch, chargedTo: chargedTo(key, epoch, entry) });
    }
  }
  keys.sort((a, b) => (a.endpoint === b.endpoint ? a.epoch - b.epoch : a.endpoint < b.endpoint ? -1 : 1));
  return { room: recordOf(entry), stays, keys, statements };
}

/** The signer of the statement that began each epoch. */
export function signersOf(statements: readonly StatementRecord[]): Map<number, string> {
  const signers = new Map<number, string>();
  for (const statement of statements) {
    const epoch = Number(statement.text.split("\n", epochLine + 1)[epochLine] ?? Number.NaN);
    if (Number.isInteger(epoch) && !signers.has(epoch)) signers.set(epoch, payerOf(statement));
  }
  return signers;
}

/** Reads a whole room in one consistent state; null if there is none. Errors: unavailable. */
export function wholeRoom(kv: RoomBuckets, roomId: string): Promise<WholeRoom | null> {
  return kv.reading(roomId, (entry) => wholeOf(kv, entry));
}

/** Claims a subject for an imported room. Errors: conflict if another room has it. */
async function putClaim(kv: RoomBuckets, { roomId, subject }: SnapshotRoom): Promise<void> {
  const claim = (await kv.claims.get(subject)).value;
  if (claim?.roomId === roomId) return;
  const holder = claim === null ? null : await kv.find(claim.roomId);
  if (holder?.entry.room.subject === subject) {
    throw new UnibusError("conflict", `the subject ${subject} belongs to the room ${claim?.roomId} (delete that one)`);
  }
  await kv.claims.put(subject, { roomId });
}

/** Writes the keys of every epoch. Returns the part for the room head: the newest epoch's keys. */
async function putKeys(kv: RoomBuckets, roomId: string, keys: readonly SealedKeyRecord[], asOf: number) {
  const room = { room: { roomId } };
  let newest = null as EpochKeys | null;
  for (const [epoch, some] of [...Map.groupBy(keys, (key) => key.epoch)].sort(([a], [b]) => a - b)) {
    if (newest !== null) await kv.filedKeys.put(kv.epochKey(room, newest.epoch), { ...newest, asOf });
    const { sealed, by } = sealedKeys(some);
    const { pages } = await kv.keys.changed(roomId, [], sealed);
    newest = { epoch, pages, older: newest?.epoch ?? null, ...by };
  }
  return newest;
}

async function putStatements(kv: RoomBuckets, roomId: string, statements: readonly StatementRecord[]): Promise<void> {
  const files = Map.groupBy(statements, ({ version }) => fileOf(version));
  await sideBySide([...files], ([file, some]) => kv.statements.put(kv.statementsKey({ room: { roomId } }, file), some));
}

/** Writes a room with its parts over any existing one. Its head is written last. Errors: conflict, unavailable. */
export async function putRoom(kv: RoomBuckets, index: RoomIndex, whole: WholeRoom<SnapshotRoom>): Promise<void> {
  const { rekeyPending: _, ...room } = whole.room;
  const { roomId, creator, deletedAt, version } = room;
  const found = await kv.find(roomId);
  // A deleted room with stays was not purged yet, so it keeps its subject.
  if (deletedAt === null || whole.stays.length > 0) await putClaim(kv, whole.room);
  const statements = [...whole.statements].sort((a, b) => a.version - b.version);
  const open = whole.stays.filter(({ until }) => until === 0);
  const [stays, keys] = await Promise.all([
    kv.stays.changed(roomId, [], whole.stays),
    putKeys(kv, roomId, whole.keys, found?.revision ?? 0),
    putStatements(kv, roomId, statements.slice(0, -1)),
    deletedAt === null ? index.noteCreated(creator, roomId) : index.dropCreated(creator, roomId),
    sideBySide(open, async (stay) => {
      if (stay.acceptedAt !== null) return index.enter(stay.endpoint, roomId, version);
      await index.reserveUnaccepted(unacceptedStay(stay, roomId, version));
    }),
  ]);
  const entry: RoomHead = {
    room: { ...room, revision: found === null ? version : revisionOf(found.entry) + 1 },
    statement: statements.at(-1) ?? null,
    stays: stays.pages,
    keys,
    charges: Object.fromEntries(chargesOf({ ...whole, creator })),
    leaving: whole.stays.filter(isLeaving).length,
  };
  await kv.entries.put(roomId, entry);
  const ids = (pages: RoomHead["stays"] = []) => pages.map(({ id }) => id);
  await kv.stays.erase(roomId, ids(found?.entry.stays));
  await kv.keys.erase(roomId, ids(found?.entry.keys?.pages));
}
