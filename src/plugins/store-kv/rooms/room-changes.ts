/**
 * Changes of an existing room: new versions, changes of one stay, and dropping old keys. Each change writes its parts
 * under new names, then replaces the room head by compare-and-set, which commits it; after a lost race it deletes its
 * parts and retries. On one node the changes of a room are serialised by a mutex. The index entries of members are
 * added before the commit and removed after it, so the index may contain too much, never too little.
 */
import { addedCharges, type Charges, chargesOf } from "../../../contracts/rows.ts";
import { isIn, isSameStay, keptStay } from "../../../contracts/stay-rules.ts";
import type { Membership, RoomChange, RoomStore, StayChange, StayRecord } from "../../../contracts/store.ts";
import { type UnacceptedLimits, unacceptedQuota } from "../../../contracts/unaccepted.ts";
import { KeyedMutex } from "../../../lib/keyed-mutex.ts";
import { sideBySide } from "../../../lib/side-by-side.ts";
import { untilMade } from "../bucket.ts";
import { dropFrom, type FiledDrops } from "./key-drops.ts";
import { noPages, PageGone, type PagesMade } from "./pages.ts";
import {
  type EpochKeys,
  isLeaving,
  type RoomBuckets,
  type RoomHead,
  revisionOf,
  sealedKeys,
  unacceptedStay,
} from "./room-head.ts";
import type { RoomIndex } from "./room-index.ts";

type Changes = Pick<RoomStore, "applyChange" | "replaceStay" | "dropKeys">;

/** The most epochs whose keys one step of `dropKeys` examines. */
const epochsPerStep = 64;

/** How much one changed stay adds to the number of members who are leaving: 1, 0 or -1. */
const gainedLeaving = (known: StayRecord | undefined, stay: StayRecord): number =>
  Number(isLeaving(stay)) - Number(known !== undefined && isLeaving(known));

const isUnaccepted = (stay: StayRecord): boolean => isIn(stay) && stay.acceptedAt === null;

const isAcceptance = ({ before, after }: StayChange): boolean =>
  before.acceptedAt === null && after.acceptedAt !== null;

/** Adds charges to a room head, or subtracts them. A head whose charges are not counted yet stays so. */
function withCharges(entry: RoomHead, charges: Charges, sign: 1 | -1): RoomHead {
  if (entry.charges === undefined) return entry;
  const before = new Map(Object.entries(entry.charges));
  return { ...entry, charges: Object.fromEntries(addedCharges(before, charges, sign)) };
}

/** The next room head, and the parts written for it. */
interface Prepared {
  readonly entry: RoomHead;
  readonly stays: PagesMade;
  readonly keys: PagesMade;
}

/**
 * Records in the index a stay that is about to begin with a version of a room. Returns false if it is unaccepted and
 * over the limits. If those are reached, removes stale index entries first.
 */
export async function noteStay(
  { kv, index }: { readonly kv: RoomBuckets; readonly index: RoomIndex },
  { room, stay }: Membership,
  { unaccepted: limits }: { readonly unaccepted?: UnacceptedLimits },
): Promise<boolean> {
  const { roomId, version } = room;
  if (stay.acceptedAt !== null) {
    await index.enter(stay.endpoint, roomId, version);
    return true;
  }
  const noted = unacceptedStay(stay, roomId, version);
  if (await index.reserveUnaccepted(noted, limits)) return true;
  await index.dropStale(noted.endpoint, noted.adder, async (id) => {
    const open = await kv.reading(id, async (entry) =>
      entry.room.deletedAt === null ? kv.openStay(entry, noted.endpoint) : null,
    );
    return open !== null && open.leftAt === null && open.acceptedAt === null;
  });
  return index.reserveUnaccepted(noted, limits);
}

/**
 * Implements the changes of a room: parts under new names first, then the room head by compare-and-set. After a lost
 * race the parts are deleted.
 */
export class RoomChanges implements Changes {
  readonly #kv: RoomBuckets;
  readonly #index: RoomIndex;
  readonly #turns = new KeyedMutex();

  constructor(kv: RoomBuckets, index: RoomIndex) {
    this.#kv = kv;
    this.#index = index;
  }

  async applyChange(change: RoomChange): Promise<boolean> {
    const { roomId, version, revision } = change.room;
    let isIndexed = false;
    const isTaken = await this.#change(roomId, async (entry, headRevision) => {
      if (revisionOf(entry) !== revision - 1 || entry.room.deletedAt !== null) return null;
      isIndexed = true;
      return this.#next(entry, headRevision, change);
    });
    const open = new Set(change.stays.filter(({ until }) => until === 0).map(({ endpoint }) => endpoint));
    if (!isTaken) {
      if (isIndexed) await this.#dropEntries(roomId, [...open], version);
      return false;
    }
    const closed = change.stays.filter(({ endpoint }) => !open.has(endpoint));
    // If an index entry remains, its readers see in the room head that it is stale.
    await sideBySide(closed, ({ endpoint }) => this.#index.exit(endpoint, roomId, version).catch(() => undefined));
    return true;
  }

  async replaceStay(roomId: string, change: StayChange): Promise<boolean> {
    const { before, after } = change;
    const { endpoint } = before;
    let version = 0;
    let indexedAs: number | null = null;
    const isTaken = await this.#change(roomId, async (entry) => {
      const { room } = entry;
      const revision = revisionOf(entry);
      if (room.deletedAt !== null || revision !== (change.revision ?? revision)) return null;
      const stay = await this.#kv.openStay(entry, endpoint);
      if (stay === null || !isSameStay(stay, before)) return null;
      const stays = await this.#kv.stays.changed(roomId, entry.stays, [after]);
      if (isAcceptance(change)) {
        indexedAs = room.version;
        await this.#index.enter(endpoint, roomId, indexedAs);
      }
      version = room.version;
      const next = { ...room, revision: after.leftAt === before.leftAt ? revision : revision + 1 };
      const leaving = entry.leaving + gainedLeaving(before, after);
      return { entry: { ...entry, room: next, stays: stays.pages, leaving }, stays, keys: noPages };
    });
    if (!isTaken) {
      if (indexedAs !== null) await this.#dropEntries(roomId, [endpoint], indexedAs);
      return false;
    }
    // If an index entry remains, its readers see that the stay is accepted, or that its member left.
    if (isUnaccepted(before) && !isUnaccepted(after))
      await this.#index.dropUnaccepted(endpoint, roomId, version).catch(() => undefined);
    return true;
  }

  /**
   * Removes the index entries that were added for a change which lost its race. Once the room has that version, or is
   * deleted, an endpoint that is not in it can no longer enter by an older entry. Entries of later versions remain.
   */
  async #dropEntries(roomId: string, endpoints: readonly string[], version: number): Promise<void> {
    try {
      const absent = await this.#kv.reading(roomId, async (entry) => {
        if (entry.room.deletedAt !== null) return endpoints;
        if (entry.room.version < version) return [];
        const stays = await sideBySide(endpoints, (endpoint) => this.#kv.openStay(entry, endpoint));
        return endpoints.filter((_, index) => stays[index] === null);
      });
      await sideBySide(absent ?? [], (endpoint) => this.#index.exit(endpoint, roomId, version));
    } catch {
      // Readers of an entry that remains see in the room head that it is stale.
    }
  }

  /**
   * Replaces a room's head by the result of `prepare`, retrying after lost races. Returns false if `prepare` returns
   * null.
   */
  async #change(
    roomId: string,
    prepare: (entry: RoomHead, revision: number) => Promise<Prepared | null>,
  ): Promise<boolean> {
    const attempt = async (): Promise<{ readonly result: Prepared | null } | null> => {
      const found = await this.#kv.find(roomId);
      if (found === null) return { result: null };
      let prepared: Prepared | null;
      try {
        prepared = await prepare(found.entry, found.revision);
      } catch (error) {
        if (error instanceof PageGone) return null;
        throw error;
      }
      if (prepared === null) return { result: null };
      if ((await this.#kv.entries.replace(roomId, prepared.entry, found.revision)) !== null)
        return { result: prepared };
      await this.#discard(roomId, prepared);
      return null;
    };
    const made = await this.#turns.hold(roomId, () => untilMade(attempt));
    if (made !== null) await this.#erase(roomId, made.stays.replaced, made.keys.replaced);
    return made !== null;
  }

  /** Applies a change to a room head and writes all parts of the result. Errors: PageGone. */
  async #next(entry: RoomHead, revision: number, change: RoomChange): Promise<Prepared> {
    const { roomId, epoch, keyCheck, version, statementHash, revision: nextRevision } = change.room;
    let { leaving } = entry;
    const added: StayRecord[] = [];
    const merge = (known: StayRecord | undefined, given: StayRecord): StayRecord => {
      const stay = keptStay(known, given);
      if (known === undefined) added.push(stay);
      leaving += gainedLeaving(known, stay);
      return stay;
    };
    const refused: string[] = [];
    const putStays = async (): Promise<PagesMade> => {
      const made = await this.#kv.stays.changed(roomId, entry.stays, change.stays, merge);
      // Only new stays: a change of an existing one may carry it as it was before its member accepted it.
      await sideBySide(added, async (stay) => {
        const isNoted = await noteStay({ kv: this.#kv, index: this.#index }, { room: change.room, stay }, change);
        if (!isNoted) refused.push(stay.endpoint);
      });
      return made;
    };
    const [stays, keys] = await Promise.all([
      putStays(),
      this.#nextKeys(entry, revision, change),
      entry.statement === null ? null : this.#kv.fileStatement(entry, entry.statement),
    ]);
    if (refused[0] !== undefined) {
      // Keep the index entries: they may belong to a change that another node is about to commit.
      await this.#erase(roomId, stays.made, keys.made.made);
      throw unacceptedQuota(refused[0]);
    }
    const { creator } = entry.room;
    const rows = { stays: added, keys: change.keys, statements: [change.statement], creator };
    const head: RoomHead = {
      ...withCharges(entry, chargesOf(rows), 1),
      room: { ...entry.room, epoch, keyCheck, version, statementHash, revision: nextRevision },
      statement: change.statement,
      stays: stays.pages,
      keys: keys.epochKeys,
      leaving,
    };
    return { entry: head, stays, keys: keys.made };
  }

  async #nextKeys(
    entry: RoomHead,
    revision: number,
    { room, keys }: RoomChange,
  ): Promise<{ readonly epochKeys: EpochKeys | null; readonly made: PagesMade }> {
    const { roomId, epoch } = room;
    const before = entry.keys;
    if (keys.length === 0) return { epochKeys: before, made: noPages };
    if (keys.some((key) => key.epoch !== epoch))
      throw new TypeError("the keys of a change must be of the room's epoch");
    const isSame = before?.epoch === epoch;
    const { sealed, by } = sealedKeys(keys, isSame ? before.by : keys[0]?.chargedTo);
    if (before !== null && !isSame) await this.#kv.fileKeys(entry, { ...before, asOf: revision });
    const made = await this.#kv.keys.changed(roomId, isSame ? before.pages : [], sealed);
    const older = isSame ? before.older : (before?.epoch ?? null);
    return { epochKeys: { epoch, pages: made.pages, older, ...by }, made };
  }

  /** A crash before the head is replaced leaves removed keys charged until the room is deleted. */
  async dropKeys(roomId: string, after: string | null): Promise<string | null> {
    const range = { from: after === null ? null : Number(after), epochsMax: epochsPerStep };
    const filed: FiledDrops = { keys: [], erased: [] };
    let next: number | null = null;
    await this.#change(roomId, async (entry) => {
      const drop = await dropFrom(this.#kv, entry, range, filed);
      next = drop.next;
      const keys = [...filed.keys, ...drop.keys];
      if (keys.length === 0) return null;
      const charges = chargesOf({ stays: [], keys, statements: [], creator: entry.room.creator });
      return { entry: { ...withCharges(entry, charges, -1), keys: drop.epochKeys }, stays: noPages, keys: drop.made };
    });
    await this.#erase(roomId, [], filed.erased);
    return next === null ? null : String(next);
  }

  #discard(roomId: string, { stays, keys }: Prepared): Promise<void> {
    return this.#erase(roomId, stays.made, keys.made);
  }

  async #erase(roomId: string, stayPages: readonly string[], keyPages: readonly string[]): Promise<void> {
    await Promise.all([this.#kv.stays.erase(roomId, stayPages), this.#kv.keys.erase(roomId, keyPages)]);
  }
}
