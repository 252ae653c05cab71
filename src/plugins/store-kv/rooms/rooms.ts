/**
 * Implements `RoomStore` over the rooms' buckets: reads and deletion are here, creation is in room-making.ts, changes
 * in room-changes.ts, and charges in row-totals.ts. A deletion first marks the room head, so that the room reads as
 * deleted, and later purges the parts and frees the subject; the tombstone stays.
 */
import { rowBytes } from "../../../contracts/rows.ts";
import { isIn } from "../../../contracts/stay-rules.ts";
import type { Membership, RoomStore, SealedKeyRecord } from "../../../contracts/store.ts";
import { sideBySide } from "../../../lib/side-by-side.ts";
import { untilMade } from "../bucket.ts";
import { PageGone } from "./pages.ts";
import { RoomChanges } from "./room-changes.ts";
import { chargedTo, type EpochKeys, type RoomBuckets, type RoomHead, recordOf } from "./room-head.ts";
import type { RoomIndex } from "./room-index.ts";
import { isLiveBy, makeRoom, type RoomMakingDeps } from "./room-making.ts";
import type { RowTotals } from "./row-totals.ts";

type Deletion = Pick<RoomStore, "markDeleted" | "purgeRoom">;
type Reads = Omit<RoomStore, keyof Deletion | keyof RoomChanges | "insertRoom" | "rowBytesOf">;

/** The keys of an epoch, or of the newest one that has any. */
async function keysAt(kv: RoomBuckets, entry: RoomHead, epoch: number | null): Promise<EpochKeys | null> {
  const { keys } = entry;
  if (keys === null || epoch === null || epoch === keys.epoch) return keys;
  if (epoch > keys.epoch) return null;
  return (await kv.filedKeys.get(kv.epochKey(entry, epoch))).value;
}

async function sealedKeyOf(
  kv: RoomBuckets,
  entry: RoomHead,
  endpoint: string,
  epoch: number | null,
): Promise<SealedKeyRecord | null> {
  const { roomId } = entry.room;
  for (let at = await keysAt(kv, entry, epoch); at !== null; ) {
    const page = await kv.keys.around(roomId, at.pages, endpoint);
    const found = page.find((key) => key.endpoint === endpoint);
    if (found !== undefined) {
      return { endpoint, epoch: at.epoch, sealedKey: found.sealedKey, chargedTo: chargedTo(found, at, entry) };
    }
    // A current member has a key of the newest epoch. Only for past members, look in earlier epochs.
    if (epoch !== null || at.older === null) return null;
    at = (await kv.filedKeys.get(kv.epochKey(entry, at.older))).value;
    if (at === null) throw new PageGone(`keys of ${roomId}`);
  }
  return null;
}

const isAccepted = ({ stay }: Membership): boolean => stay.acceptedAt !== null;

function createReads(kv: RoomBuckets, index: RoomIndex, totals: RowTotals): Reads {
  const membership = async (roomId: string, endpoint: string): Promise<Membership | null> =>
    kv.reading(roomId, async (entry) => {
      const stay = entry.room.deletedAt === null ? await kv.openStay(entry, endpoint) : null;
      return stay === null || stay.leftAt !== null ? null : { room: recordOf(entry), stay };
    });

  return {
    async getRoom(roomId) {
      const found = await kv.find(roomId);
      return found && recordOf(found.entry);
    },
    async findRoomId(subject) {
      const roomId = (await kv.claims.get(subject)).value?.roomId;
      const room = roomId === undefined ? undefined : (await kv.find(roomId))?.entry.room;
      return room?.subject === subject ? room.roomId : null;
    },
    getStay: (roomId, endpoint) => kv.reading(roomId, (entry) => kv.openStay(entry, endpoint)),
    async listStays(roomId) {
      return (await kv.reading(roomId, ({ stays }) => kv.stays.all(roomId, stays))) ?? [];
    },
    async listRoomsOf(endpoint, { after = null, limit = Number.POSITIVE_INFINITY, accepted } = {}) {
      const noted = await index.roomsOf(endpoint, accepted);
      const ids = after === null ? noted : noted.filter((roomId) => roomId > after);
      const found: Membership[] = [];
      // Some index entries may be stale; then later ones take their place.
      while (found.length < limit && ids.length > 0) {
        const some = await sideBySide(ids.splice(0, limit - found.length), (roomId) => membership(roomId, endpoint));
        for (const one of some) {
          if (one !== null && (accepted ?? isAccepted(one)) === isAccepted(one)) found.push(one);
        }
      }
      return found;
    },
    async countRoomsBy(creator) {
      const { made, open } = await index.createdBy(creator);
      const live = await sideBySide([...open.keys()], (roomId) => isLiveBy(kv, roomId, creator));
      return made + live.filter(Boolean).length;
    },
    getSealedKey: (roomId, endpoint, epoch) => kv.reading(roomId, (entry) => sealedKeyOf(kv, entry, endpoint, epoch)),
    async listStatements(roomId, from, limit) {
      return (await kv.reading(roomId, (entry) => kv.statementsOf(entry, from, limit))) ?? [];
    },
    async countMembers(roomId) {
      const stays = (await kv.reading(roomId, (entry) => kv.stays.all(roomId, entry.stays))) ?? [];
      return stays.filter(isIn).length;
    },
    async listRooms(after, limit) {
      const found = await sideBySide(await totals.ids(after, limit), (roomId) => kv.find(roomId));
      return found.flatMap((one) => (one === null ? [] : [recordOf(one.entry)]));
    },
  };
}

function createDeletion(kv: RoomBuckets, index: RoomIndex): Deletion {
  /** Changes the head of a room. Returns null if `change` returns null. */
  const changed = (roomId: string, change: (entry: RoomHead) => RoomHead | null): Promise<RoomHead | null> =>
    untilMade(async () => {
      const found = await kv.find(roomId);
      const next = found && change(found.entry);
      if (found === null || next === null) return { result: null };
      return (await kv.entries.replace(roomId, next, found.revision)) === null ? null : { result: next };
    });

  return {
    async markDeleted(roomId, at) {
      const marked = await changed(roomId, (entry) =>
        entry.room.deletedAt === null ? { ...entry, room: { ...entry.room, deletedAt: at } } : null,
      );
      // If the index entry remains, the purge removes it.
      if (marked !== null) await index.dropCreated(marked.room.creator, roomId).catch(() => undefined);
      return marked !== null;
    },
    async purgeRoom(roomId) {
      const room = (await kv.find(roomId))?.entry.room;
      if (room === undefined || room.deletedAt === null) return;
      const stays = (await kv.reading(roomId, (entry) => kv.stays.all(roomId, entry.stays))) ?? [];
      const open = stays.filter(({ until }) => until === 0);
      await sideBySide(open, ({ endpoint }) => index.exit(endpoint, roomId, room.version));
      await index.dropCreated(room.creator, roomId);
      // Remove the references before the parts, so that no reader misses one.
      const charges = { [room.creator]: rowBytes.room };
      const bare = { statement: null, stays: [], keys: null, leaving: 0, charges };
      await changed(roomId, (entry) => ({ ...entry, ...bare }));
      await Promise.all([kv.stayPages, kv.keyPages, kv.statements].map((parts) => parts.erase(`${roomId}.>`)));
      const { value, revision } = await kv.claims.get(room.subject);
      if (value?.roomId === roomId) await kv.claims.remove(room.subject, revision);
    },
  };
}

/** Implements the room store. */
export function createRooms(parts: RoomMakingDeps, totals: RowTotals): RoomStore {
  const { kv, index } = parts;
  const changes = new RoomChanges(kv, index);
  return {
    ...createReads(kv, index, totals),
    ...createDeletion(kv, index),
    insertRoom: (made, liveMax) => makeRoom(parts, made, liveMax),
    applyChange: (change) => changes.applyChange(change),
    replaceStay: (roomId, change) => changes.replaceStay(roomId, change),
    dropKeys: (roomId, after) => changes.dropKeys(roomId, after),
    rowBytesOf: (payer) => totals.of(payer),
  };
}
