import { UnibusError } from "../../wire/errors.ts";
import { buckets } from "../../wire/names.ts";
import { Bucket } from "./bucket.ts";
import type { Calls } from "./calls.ts";

/** Rooms that one peer may be in, and that one may have created: what one entry holds. */
const roomsMax = 20_000;

/** What is noted of a room that was made. */
const isMade = 1;

/** Numbers by room id. */
type ByRoom = Readonly<Record<string, number>>;

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

  constructor(calls: Calls) {
    this.#rooms = new Bucket(calls, buckets.roomsByMember, { recalls: true });
    this.#created = new Bucket(calls, buckets.roomsByMember, { prefix: "creator.", recalls: true });
  }

  /** Ids of the rooms in which an endpoint may have an open stay, ascending. */
  async roomsOf(endpoint: string): Promise<string[]> {
    return Object.keys((await this.#rooms.get(endpoint)).value ?? {}).sort();
  }

  /** Notes a stay that is to begin with a version of a room. Errors: quota. */
  async enter(endpoint: string, roomId: string, version: number): Promise<void> {
    await this.#rooms.update(endpoint, (known) =>
      (known?.[roomId] ?? -1) >= version ? known : checkSize({ ...known, [roomId]: version }),
    );
  }

  /** Takes a room off that an endpoint left with a version. One that was noted for a later stay remains. */
  async exit(endpoint: string, roomId: string, version: number): Promise<void> {
    await this.#rooms.update(endpoint, (known) =>
      known?.[roomId] === undefined || known[roomId] > version ? known : without(known, roomId),
    );
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
