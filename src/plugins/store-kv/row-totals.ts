/**
 * What each payer is charged for rows, over all rooms: the sum of what the rooms' entries say, in memory, by following
 * their bucket. So a change costs no write more, and what a crash leaves behind cannot make the sum wrong.
 *
 * A room whose entry says nothing (of a version before 0.2.0, or restored a moment ago) is counted once, from its
 * rows, and its entry then says it. Until then it counts for nobody.
 */
import { chargesOf } from "../../contracts/rows.ts";
import { buckets } from "../../wire/names.ts";
import { untilMade } from "./bucket.ts";
import { type Calls, sideBySide } from "./calls.ts";
import { Follower, type Image } from "./follower.ts";
import { PageGone } from "./pages.ts";
import type { NoRoom, RoomBuckets, RoomEntry } from "./room-entry.ts";
import { allKeys, signersOf, wholeOf } from "./room-import.ts";

/** Rooms that are counted in one go before the sum is looked at again. */
const countedTogether = 256;

/** The charges of every room, and their sums. */
class ChargesImage implements Image {
  readonly #rooms = new Map<string, ReadonlyMap<string, number>>();
  #totals = new Map<string, number>();
  /** Rooms that are to be counted. */
  readonly uncounted = new Set<string>();

  set(roomId: string, json: string): void {
    const entry = json === "" ? null : (JSON.parse(json) as RoomEntry | NoRoom);
    const charges = entry === null || entry.room === null ? {} : entry.charges;
    if (charges === undefined) this.uncounted.add(roomId);
    else this.uncounted.delete(roomId);
    const next = new Map(Object.entries(charges ?? {}));
    for (const [payer, bytes] of this.#rooms.get(roomId) ?? []) this.#add(payer, -bytes);
    for (const [payer, bytes] of next) this.#add(payer, bytes);
    this.#rooms.set(roomId, next);
  }

  totalOf(payer: string): number {
    return this.#totals.get(payer) ?? 0;
  }

  #add(payer: string, bytes: number): void {
    const total = (this.#totals.get(payer) ?? 0) + bytes;
    if (total === 0) this.#totals.delete(payer);
    else this.#totals.set(payer, total);
  }
}

/** What payers are charged. */
export class RowTotals {
  readonly #kv: RoomBuckets;
  readonly #follower: Follower<ChargesImage>;
  #counting: Promise<void> | null = null;

  constructor(calls: Calls, kv: RoomBuckets, signal?: AbortSignal) {
    this.#kv = kv;
    const followed = { bucket: buckets.rooms, make: () => new ChargesImage(), name: "rows" };
    this.#follower = new Follower(calls, followed, signal);
  }

  /** Bytes, no older than the last change of a room before this call. Errors: unavailable. */
  async of(payer: string): Promise<number> {
    const image = await this.#follower.now();
    // In the background: one room may have very many rows. What fails is tried again with the next question.
    if (image.uncounted.size > 0) void this.countAll().catch(() => undefined);
    return image.totalOf(payer);
  }

  /** Counts every room that is to be counted. Errors: unavailable; what was counted by then stays so. */
  countAll(): Promise<void> {
    this.#counting ??= this.#countAll().finally(() => {
      this.#counting = null;
    });
    return this.#counting;
  }

  async #countAll(): Promise<void> {
    for (let image = await this.#follower.now(); image.uncounted.size > 0; image = await this.#follower.now()) {
      await sideBySide([...image.uncounted].slice(0, countedTogether), (roomId) => countRoom(this.#kv, roomId));
    }
  }
}

/** Counts one room, and notes in its entry what its rows cost. Errors: unavailable. */
function countRoom(kv: RoomBuckets, roomId: string): Promise<void> {
  return untilMade(async () => {
    const found = await kv.find(roomId);
    if (found === null || found.entry.charges !== undefined) return { result: undefined };
    const { entry, revision } = found;
    try {
      const whole = await wholeOf(kv, entry);
      await notePayers(kv, entry, signersOf(whole.statements));
      const { creator } = entry.room;
      const by = entry.keys === null ? undefined : (entry.keys.by ?? signersOf(whole.statements).get(entry.keys.epoch));
      const keys = entry.keys === null || by === undefined ? entry.keys : { ...entry.keys, by };
      const charges = Object.fromEntries(chargesOf({ ...whole, creator }));
      return (await kv.entries.replace(roomId, { ...entry, keys, charges }, revision)) === null
        ? null
        : { result: undefined };
    } catch (error) {
      if (error instanceof PageGone) return null;
      throw error;
    }
  });
}

/** Notes who is charged for the keys of earlier epochs, which dropping them gives back to. */
async function notePayers(kv: RoomBuckets, entry: RoomEntry, signers: ReadonlyMap<number, string>): Promise<void> {
  const filed = (await allKeys(kv, entry)).slice(1).filter(({ by }) => by === undefined);
  await sideBySide(filed, async ({ epoch }) => {
    const by = signers.get(epoch);
    if (by === undefined) return;
    await kv.filedKeys.update(kv.epochKey(entry, epoch), (known) =>
      known === null || known.by !== undefined ? known : { ...known, by },
    );
  });
}
