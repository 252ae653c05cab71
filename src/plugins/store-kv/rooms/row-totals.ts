/**
 * The bytes that each payer is charged for rows over all rooms: the sum of the charges in the room heads, kept in
 * memory by following their bucket. So a change needs no extra write, and a crash cannot make the sum wrong. The same
 * image knows the ids of all rooms, so that a page of them does not list the bucket.
 *
 * A room head without charges (from before 0.2.0, or just restored) is counted once from its rows, and the result is
 * stored in the head. Until then the room is charged to no one.
 */
import { chargesOf } from "../../../contracts/rows.ts";
import { sideBySide } from "../../../lib/side-by-side.ts";
import { SortedKeys } from "../../../lib/sorted-keys.ts";
import type { JetStream } from "../../../nats/jetstream.ts";
import { buckets } from "../../../wire/names.ts";
import { untilMade } from "../bucket.ts";
import { Follower, type Image } from "../linearizable/follower.ts";
import { PageGone } from "./pages.ts";
import type { NoRoom, RoomBuckets, RoomHead } from "./room-head.ts";
import { allKeys, signersOf, wholeOf } from "./room-import.ts";

/** How many rooms are counted before the image is read again. */
const countedTogether = 256;

/** The charges of every room, and their sum per payer. */
class ChargesImage implements Image {
  readonly #rooms = new Map<string, ReadonlyMap<string, number>>();
  #totals = new Map<string, number>();
  /** The rooms whose charges are not counted yet. */
  readonly uncounted = new Set<string>();
  /** The ids of all rooms that were ever created. */
  readonly ids = new SortedKeys();

  set(roomId: string, json: string): void {
    const entry = json === "" ? null : (JSON.parse(json) as RoomHead | NoRoom);
    const isRoom = entry !== null && entry.room !== null;
    if (isRoom) this.ids.add(roomId);
    else this.ids.delete(roomId);
    const charges = isRoom ? entry.charges : {};
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

/** Answers how many bytes a payer is charged. */
export class RowTotals {
  readonly #kv: RoomBuckets;
  readonly #follower: Follower<ChargesImage>;
  #counting: Promise<void> | null = null;

  constructor(js: JetStream, kv: RoomBuckets, signal?: AbortSignal) {
    this.#kv = kv;
    const followed = { bucket: buckets.rooms, make: () => new ChargesImage(), name: "rows" };
    this.#follower = new Follower(js, followed, signal);
  }

  /** The bytes charged to a payer, including every change before this call. Errors: unavailable. */
  async of(payer: string): Promise<number> {
    const image = await this.#follower.now();
    // In the background, because one room may have very many rows. A failure is retried with the next query.
    if (image.uncounted.size > 0) void this.countAll().catch(() => undefined);
    return image.totalOf(payer);
  }

  /** The ids of rooms after an id, ascending, including those of deleted rooms. Errors: unavailable. */
  async ids(after: string | null, limit: number): Promise<string[]> {
    return (await this.#follower.now()).ids.page(after, limit);
  }

  /** Counts every room without charges. Errors: unavailable; rooms counted by then keep their result. */
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

/** Counts one room and stores the charges in its head. Errors: unavailable. */
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

/** Records the payer of the keys of earlier epochs, so that dropping those keys can refund them. */
async function notePayers(kv: RoomBuckets, entry: RoomHead, signers: ReadonlyMap<number, string>): Promise<void> {
  const filed = (await allKeys(kv, entry)).slice(1).filter(({ by }) => by === undefined);
  await sideBySide(filed, async ({ epoch }) => {
    const by = signers.get(epoch);
    if (by === undefined) return;
    await kv.filedKeys.update(kv.epochKey(entry, epoch), (known) =>
      known === null || known.by !== undefined ? known : { ...known, by },
    );
  });
}
