/**
 * Creates rooms in several steps that a crash may interrupt at any point: count the room for its creator, claim its
 * subject, write its parts, and create the room head, which is the commit. A failed attempt can be repeated with the
 * same room.
 * Invariant: without a room head there is no room. A claim or count that a crash left behind expires after a minute;
 * taking over the claim first occupies the room id with a placeholder, so the slow creator cannot commit any more.
 */
import { chargesOf } from "../../../contracts/rows.ts";
import type { NewRoom, RoomRecord } from "../../../contracts/store.ts";
import { takenRoomId, takenSubject } from "../../../contracts/taken.ts";
import { sideBySide } from "../../../lib/side-by-side.ts";
import { hasCode, UnibusError } from "../../../wire/errors.ts";
import { untilMade } from "../bucket.ts";
import { type RoomBuckets, type RoomHead, sealedKeys } from "./room-head.ts";
import type { RoomIndex } from "./room-index.ts";

/** After this time a subject claim without a room may be taken over, in milliseconds. */
const claimLifeMs = 60_000;

/** The dependencies of room creation. */
export interface RoomMakingDeps {
  readonly kv: RoomBuckets;
  readonly index: RoomIndex;
  readonly now: () => number;
}

/** Checks that a room id was never used. Errors: conflict, or gone for a deleted room. */
async function checkFresh({ kv }: RoomMakingDeps, roomId: string): Promise<void> {
  const { value } = await kv.entries.get(roomId);
  if (value === null) return;
  throw takenRoomId(roomId, value.room === null || value.room.deletedAt !== null);
}

/** Reports whether a subject claim may be taken over: its room has another subject by now, or was never created. */
async function mayLose({ kv, now }: RoomMakingDeps, subject: string, roomId: string, since: number): Promise<boolean> {
  const { value } = await kv.entries.get(roomId);
  if (value !== null) return value.room?.subject !== subject;
  if (now() - since < claimLifeMs) return false;
  // The creator of that room may still be at work: the placeholder makes their commit fail.
  return (await kv.entries.create(roomId, { room: null })) !== null;
}

/** Claims the subject of a room that was counted for its creator. If another room has the subject, undoes the count. */
export async function claimFor(
  parts: RoomMakingDeps,
  { roomId, subject, creator }: Pick<RoomRecord, "roomId" | "subject" | "creator">,
): Promise<number | null> {
  const { kv, index } = parts;
  return claim(parts, subject, roomId).catch(async (error: unknown) => {
    if (hasCode(error, "conflict") && !(await isLiveBy(kv, roomId, creator))) await index.dropCreated(creator, roomId);
    throw error;
  });
}

/** Claims a subject for a room. Returns the claim's revision, or null if the room had claimed it before. */
function claim(parts: RoomMakingDeps, subject: string, roomId: string): Promise<number | null> {
  const { claims } = parts.kv;
  return untilMade(async () => {
    const { value, revision, at } = await claims.get(subject);
    if (value?.roomId === roomId) return { result: null };
    if (value !== null && !(await mayLose(parts, subject, value.roomId, at))) throw takenSubject(subject);
    const made = await claims.replace(subject, { roomId }, revision);
    return made === null ? null : { result: made };
  });
}

/** Writes the parts of a new room and returns its first head. */
async function firstEntry({ kv, index }: RoomMakingDeps, { room, stay, keys, statement }: NewRoom): Promise<RoomHead> {
  const { roomId, epoch } = room;
  const { sealed, by } = sealedKeys(keys);
  const [stays, keyPages] = await Promise.all([
    kv.stays.changed(roomId, [], [stay]),
    kv.keys.changed(roomId, [], sealed),
    index.enter(stay.endpoint, roomId, room.version),
  ]);
  const { rekeyPending: _, ...record } = room;
  return {
    room: record,
    statement,
    stays: stays.pages,
    keys: keyPages.pages.length === 0 ? null : { epoch, pages: keyPages.pages, older: null, ...by },
    charges: Object.fromEntries(
      chargesOf({ room, stays: [stay], keys, statements: [statement], creator: room.creator }),
    ),
    leaving: 0,
  };
}

/** Reports whether a room exists, is not deleted, and has this creator. */
export async function isLiveBy(kv: RoomBuckets, roomId: string, creator: string): Promise<boolean> {
  const room = (await kv.find(roomId))?.entry.room;
  return room?.creator === creator && room.deletedAt === null;
}

/**
 * Counts a room for its creator before anything of it is written. Returns false if the creator has `liveMax` others.
 */
export async function reserve(
  { kv, index, now }: RoomMakingDeps,
  { roomId, creator }: Pick<RoomRecord, "roomId" | "creator">,
  liveMax: number,
): Promise<boolean> {
  const attempt = () => index.reserveCreated(creator, roomId, now(), liveMax);
  if (await attempt()) return true;
  // An interrupted creation counts until it is certain that its room will never exist.
  const { open } = await index.createdBy(creator);
  const old = [...open].filter(([id, at]) => id !== roomId && now() - at > claimLifeMs).map(([id]) => id);
  if (old.length === 0) return false;
  await sideBySide(old, async (id) =>
    (await isLiveBy(kv, id, creator)) ? index.noteCreated(creator, id) : index.dropCreated(creator, id),
  );
  return attempt();
}

/**
 * Creates a room: count it, claim its subject, write its parts, then create its head. Before the head exists, the room
 * does not. Returns false and creates nothing if its creator has `liveMax` rooms.
 * Errors: conflict, gone, unavailable. After `unavailable` the same room may be created again.
 */
export async function makeRoom(
  parts: RoomMakingDeps,
  made: NewRoom,
  liveMax = Number.POSITIVE_INFINITY,
): Promise<boolean> {
  const { kv, index } = parts;
  const { roomId, creator } = made.room;
  await checkFresh(parts, roomId);
  if (!(await reserve(parts, made.room, liveMax))) return false;
  const claimed = await claimFor(parts, made.room);
  const entry = await firstEntry(parts, made);
  if ((await kv.entries.create(roomId, entry)) !== null) {
    // If this fails, the room counts all the same, because readers of the count check its head.
    await index.noteCreated(creator, roomId).catch(() => undefined);
    return true;
  }
  await discard(parts, made, entry, claimed);
  await checkFresh(parts, roomId);
  throw new UnibusError("unavailable", "the room's id was taken and freed in the meantime (try again)");
}

/** Undoes the writes of a room that lost its id to another one. Anything left behind is harmless. */
async function discard(
  { kv, index }: RoomMakingDeps,
  { room, stay }: NewRoom,
  entry: RoomHead,
  claimed: number | null,
): Promise<void> {
  const { roomId, subject, creator } = room;
  const winner = await kv.find(roomId);
  const ids = (pages: RoomHead["stays"]) => pages.map(({ id }) => id);
  await Promise.all([
    claimed !== null && winner?.entry.room.subject !== subject ? kv.claims.remove(subject, claimed) : null,
    winner?.entry.room.creator === creator ? null : index.dropCreated(creator, roomId),
    (await isIn(kv, winner?.entry, stay.endpoint)) ? null : index.exit(stay.endpoint, roomId, room.version),
    kv.stays.erase(roomId, ids(entry.stays)),
    kv.keys.erase(roomId, ids(entry.keys?.pages ?? [])),
  ]);
}

/** Reports whether a user is in a newly created room; true if the room has changed since. */
async function isIn(kv: RoomBuckets, entry: RoomHead | undefined, endpoint: string): Promise<boolean> {
  if (entry === undefined) return false;
  if (entry.room.version > 1) return true;
  return kv.openStay(entry, endpoint).then(
    (stay) => stay !== null,
    () => true,
  );
}
