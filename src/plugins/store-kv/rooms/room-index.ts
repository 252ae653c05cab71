/**
 * The index from users to rooms: the rooms that a user may be in, the unaccepted stays by adder, and the rooms that a
 * user created. Listings and limits are computed from it, each limit by compare-and-set on one entry.
 * Invariant: the index may contain too much, never too little. An entry is added before the stay or room is committed,
 * and removed after it ended. So readers verify every hit against the room head, which alone decides membership.
 */
import { isOverUnaccepted, type UnacceptedCounts, type UnacceptedLimits } from "../../../contracts/unaccepted.ts";
import { sideBySide } from "../../../lib/side-by-side.ts";
import type { JetStream } from "../../../nats/jetstream.ts";
import { UnibusError } from "../../../wire/errors.ts";
import { buckets } from "../../../wire/names.ts";
import { Bucket } from "../bucket.ts";

/** The most rooms that one user may be in, or may have created: the capacity of one index entry. */
const roomsMax = 20_000;

/** The state of a created room whose creation is complete. */
const isMade = 1;

/** The most unaccepted stays in the index of one user. Above it, no one can add the user to another room. */
const unacceptedMax = 20_000;
/** After this time an index entry without its stay is stale, because the add must have failed, in milliseconds. */
const addingMsMax = 60_000;

/** Numbers by room id. */
type ByRoom = Readonly<Record<string, number>>;

/** An unaccepted stay in the index: the room version that begins it, and when it was added, in milliseconds. */
type Noted = readonly [version: number, at: number];

/** The unaccepted stays of one user, by adder, then by room id. */
type Unaccepted = Readonly<Record<string, Readonly<Record<string, Noted>>>>;

/** An unaccepted stay that is about to begin. */
export interface UnacceptedStay {
  readonly endpoint: string;
  readonly roomId: string;
  readonly version: number;
  readonly adder: string;
}

/** Removes some rooms of an adder. Returns the same object if there is nothing to remove. */
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
  throw new UnibusError("quota", `a user can be in at most ${roomsMax} rooms (leave one)`);
}

/**
 * The index from users to rooms. It contains candidates only: the room head decides who is a member. An entry is added
 * before its room or stay is committed, and removed after it ended.
 */
export class RoomIndex {
  /** By endpoint: for each room, the version that began the last stay. */
  readonly #rooms: Bucket<ByRoom>;
  /** By endpoint: for each created room `isMade`, or the start time of a creation in progress, in ms (0: long ago). */
  readonly #created: Bucket<ByRoom>;
  readonly #unaccepted: Bucket<Unaccepted>;

  constructor(
    js: JetStream,
    private readonly now: () => number,
  ) {
    this.#rooms = new Bucket(js, buckets.roomsByMember, { recalls: true });
    this.#created = new Bucket(js, buckets.roomsByMember, { prefix: "creator.", recalls: true });
    this.#unaccepted = new Bucket(js, buckets.roomsByMember, { prefix: "unaccepted.", recalls: true });
  }

  /**
   * Lists the ids of rooms in which an endpoint may have an open stay, ascending. `accepted` restricts them to rooms
   * that it may have accepted, or may not have accepted.
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
   * Adds an unaccepted stay to the index. Returns false and adds nothing if it exceeds the limits. One compare-and-set,
   * so the limits hold for concurrent adds on all nodes.
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

  /** Removes an adder's stale index entries: those that are older than `addingMsMax` and have no stay. */
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

  /** Removes an unaccepted stay that a version, or an earlier one, began: it was accepted, or has ended. */
  async dropUnaccepted(endpoint: string, roomId: string, version: number): Promise<void> {
    const isGone = (id: string, [noted]: Noted) => id === roomId && noted <= version;
    await this.#unaccepted.update(endpoint, (known) => {
      if (known === null) return known;
      return Object.keys(known).reduce((all, adder) => withoutNoted(all, adder, isGone), known);
    });
  }

  /** Adds an accepted stay, or one about to be accepted, with the room's version. Errors: quota. */
  async enter(endpoint: string, roomId: string, version: number): Promise<void> {
    await this.#rooms.update(endpoint, (known) =>
      (known?.[roomId] ?? -1) >= version ? known : checkSize({ ...known, [roomId]: version }),
    );
  }

  /** Removes a room that an endpoint left with a version. An entry of a later stay remains. */
  async exit(endpoint: string, roomId: string, version: number): Promise<void> {
    await Promise.all([
      this.#rooms.update(endpoint, (known) =>
        known?.[roomId] === undefined || known[roomId] > version ? known : without(known, roomId),
      ),
      this.dropUnaccepted(endpoint, roomId, version),
    ]);
  }

  /**
   * Counts the rooms that an endpoint created, and lists those whose creation is in progress, with the start time in
   * ms.
   */
  async createdBy(endpoint: string): Promise<{ readonly made: number; readonly open: ReadonlyMap<string, number> }> {
    const all = Object.entries((await this.#created.get(endpoint)).value ?? {});
    const open = all.filter(([, state]) => state !== isMade);
    return { made: all.length - open.length, open: new Map(open) };
  }

  /**
   * Adds a room that its creator is about to make. Returns false if `max` others are in the index, including those in
   * progress. One compare-and-set, so the limit holds on all nodes. Errors: quota.
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

  /** Marks a room as created. Errors: quota. */
  async noteCreated(endpoint: string, roomId: string): Promise<void> {
    await this.#created.update(endpoint, (known) =>
      known?.[roomId] === isMade ? known : checkSize({ ...known, [roomId]: isMade }),
    );
  }

  /** Removes a room from its creator's index entry. */
  async dropCreated(endpoint: string, roomId: string): Promise<void> {
    await this.#created.update(endpoint, (known) => (known?.[roomId] === undefined ? known : without(known, roomId)));
  }
}
