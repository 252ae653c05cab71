import { isOverUnaccepted, type UnacceptedCounts, type UnacceptedLimits } from "../../contracts/unaccepted.ts";
import { UnibusError } from "../../wire/errors.ts";
import { buckets } from "../../wire/names.ts";
import { Bucket } from "./bucket.ts";
import { type Calls, sideBySide } from "./calls.ts";

/** Rooms that one peer may be in, and that one may have created: what one entry holds. */
const roomsMax = 20_000;

/** What is noted of a room that was made. */
const isMade = 1;

/** Unaccepted stays of one peer that its index holds. Beyond that nobody adds the peer to another room. */
const unacceptedMax = 20_000;
/** After what time a stay that was noted and is not there is not about to be there, in milliseconds. */
const addingMsMax = 60_000;

/** Numbers by room id. */
type ByRoom = Readonly<Record<string, number>>;

/** A stay that is not accepted: the version of the room with which it was to begin, and when that was noted, in ms. */
type Noted = readonly [version: number, at: number];

/** The unaccepted stays of one peer, by adder, then by room id. */
type Unaccepted = Readonly<Record<string, Readonly<Record<string, Noted>>>>;

/** An unaccepted stay that is to begin. */
export interface UnacceptedStay {
  readonly endpoint: string;
  readonly roomId: string;
  readonly version: number;
  readonly adder: string;
}

/** The same without some rooms of an adder; the very same where that is nothing. */
function withoutNoted(all: Unaccepted, adder: string, isGone: (roomId: string, noted: Noted) => boolean): Unaccepted {
  const mine = Object.entries(all[adder] ?? {});
  const kept = mine.filter(([roomId, noted]) => !isGone(roomId, noted));
  if (kept.length === mine.length) return all;
  const { [adder]: _, ...others } = all;
  return kept.length === 0 ? others : { ...others, [adder]: Object.fromEntries(kept) };
}

function countsOf(all: Unaccepted, { adder, roomId }: UnacceptedStay): UnacceptedCounts {
  const { [roomId]: _, ...mine } = all[adder] ?? {};
  const sizes = Object.values(all).map((rooms) => Object.keys(rooms).length);
  return { all: sizes.reduce((sum, size) => sum + size, 0), ofAdder: Object.keys(mine).length, adders: sizes.length };
}

const without = (rooms: ByRoom, roomId: string): ByRoom =>
  Object.fromEntries(Object.entries(rooms).filter(([id]) => id !== roomId));

function checkSize(rooms: ByRoom): ByRoom {
  if (Object.keys(rooms).length <= roomsMax) return rooms;
  throw new UnibusError("quota", `nobody can be in more than ${roomsMax} rooms (leave one)`);
}

/**
 * Which rooms somebody may be in, and which they created: what to look at, never what holds. Only a room's own entry
 * says who is in it. A room is noted before it, or the stay in it, is committed, and taken off after it went.
 */
export class RoomIndex {
  /** By endpoint: the version of the room with which the last stay was to begin. */
  readonly #rooms: Bucket<ByRoom>;
  /** By endpoint: 1 for a room that was made; for one that is being made, when that began in ms (0: long ago). */
  readonly #created: Bucket<ByRoom>;
  readonly #unaccepted: Bucket<Unaccepted>;

  constructor(
    calls: Calls,
    private readonly now: () => number,
  ) {
    this.#rooms = new Bucket(calls, buckets.roomsByMember, { recalls: true });
    this.#created = new Bucket(calls, buckets.roomsByMember, { prefix: "creator.", recalls: true });
    this.#unaccepted = new Bucket(calls, buckets.roomsByMember, { prefix: "unaccepted.", recalls: true });
  }

  /**
   * Ids of the rooms in which an endpoint may have an open stay, ascending; only those that it may have accepted, or
   * that it may not have accepted, where that is asked for.
   */
  async roomsOf(endpoint: string, accepted?: boolean): Promise<string[]> {
    const [yes, no] = await Promise.all([
      accepted === false ? null : this.#rooms.get(endpoint),
      accepted === true ? null : this.#unaccepted.get(endpoint),
    ]);
    const ids = [yes?.value ?? {}, ...Object.values(no?.value ?? {})].flatMap((rooms) => Object.keys(rooms));
    return [...new Set(ids)].sort();
  }

  /**
   * Notes a stay that is to begin unaccepted. False, and it is not noted, where it is over the limits: one
   * compare-and-set, whichever nodes add at once.
   */
  async reserveUnaccepted(stay: UnacceptedStay, limits?: UnacceptedLimits): Promise<boolean> {
    const { endpoint, adder, roomId, version } = stay;
    let isRefused = false;
    await this.#unaccepted.update(endpoint, (known) => {
      const all = known ?? {};
      const counts = countsOf(all, stay);
      isRefused = limits !== undefined && (counts.all >= unacceptedMax || isOverUnaccepted(counts, limits));
      if (isRefused || (all[adder]?.[roomId]?.[0] ?? -1) >= version) return known;
      return { ...all, [adder]: { ...all[adder], [roomId]: [version, this.now()] } };
    });
    return !isRefused;
  }

  /** Takes stays of an adder off that are noted and, for a while already, are not there. */
  async dropStale(endpoint: string, adder: string, isThere: (roomId: string) => Promise<boolean>): Promise<void> {
    const mine = Object.entries((await this.#unaccepted.get(endpoint)).value?.[adder] ?? {});
    const settled = mine.filter(([, [, at]]) => this.now() - at > addingMsMax);
    const found = await sideBySide(settled, async ([roomId]) => ((await isThere(roomId)) ? null : roomId));
    const stale = new Map(settled.filter(([roomId]) => found.includes(roomId)));
    if (stale.size === 0) return;
    const isGone = (roomId: string, [version, at]: Noted) => {
      const [staleVersion, staleAt] = stale.get(roomId) ?? [];
      return version === staleVersion && at === staleAt;
    };
    await this.#unaccepted.update(endpoint, (known) => known && withoutNoted(known, adder, isGone));
  }

  /** Takes an unaccepted stay off that began with a version or an earlier one: it was accepted, or is over. */
  async dropUnaccepted(endpoint: string, roomId: string, version: number): Promise<void> {
    const isGone = (id: string, [noted]: Noted) => id === roomId && noted <= version;
    await this.#unaccepted.update(endpoint, (known) => {
      if (known === null) return known;
      return Object.keys(known).reduce((all, adder) => withoutNoted(all, adder, isGone), known);
    });
  }

  /** Notes a stay that is accepted, or is about to be, with the version of the room. Errors: quota. */
  async enter(endpoint: string, roomId: string, version: number): Promise<void> {
    await this.#rooms.update(endpoint, (known) =>
      (known?.[roomId] ?? -1) >= version ? known : checkSize({ ...known, [roomId]: version }),
    );
  }

  /** Takes a room off that an endpoint left with a version. One that was noted for a later stay remains. */
  async exit(endpoint: string, roomId: string, version: number): Promise<void> {
    await Promise.all([
      this.#rooms.update(endpoint, (known) =>
        known?.[roomId] === undefined || known[roomId] > version ? known : without(known, roomId),
      ),
      this.dropUnaccepted(endpoint, roomId, version),
    ]);
  }

  /** How many rooms an endpoint created; and those that it began to create, by id, with the time of that in ms. */
  async createdBy(endpoint: string): Promise<{ readonly made: number; readonly open: ReadonlyMap<string, number> }> {
    const all = Object.entries((await this.#created.get(endpoint)).value ?? {});
    const open = all.filter(([, state]) => state !== isMade);
    return { made: all.length - open.length, open: new Map(open) };
  }

  /**
   * Notes a room that its creator is about to make. False where `max` others are noted, those that are being made
   * included: one compare-and-set, whichever nodes they are made on. Errors: quota.
   */
  async reserveCreated(endpoint: string, roomId: string, at: number, max: number): Promise<boolean> {
    let isFull = false;
    await this.#created.update(endpoint, (known) => {
      const { [roomId]: mine, ...others } = known ?? {};
      isFull = Object.keys(others).length >= max;
      return isFull || mine === isMade ? known : checkSize({ ...known, [roomId]: at });
    });
    return !isFull;
  }

  /** Notes a room that its creator has made. Errors: quota. */
  async noteCreated(endpoint: string, roomId: string): Promise<void> {
    await this.#created.update(endpoint, (known) =>
      known?.[roomId] === isMade ? known : checkSize({ ...known, [roomId]: isMade }),
    );
  }

  /** Takes a room off its creator's. */
  async dropCreated(endpoint: string, roomId: string): Promise<void> {
    await this.#created.update(endpoint, (known) => (known?.[roomId] === undefined ? known : without(known, roomId)));
  }
}
