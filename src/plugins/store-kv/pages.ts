import { randomBytes } from "node:crypto";
import type { Bucket } from "./bucket.ts";
import { sideBySide } from "./calls.ts";
import { Recent } from "./recent.ts";

/** Records of one page. A full one is split. */
const recordsMax = 128;
/** How much JSON of pages is held at once, in bytes. */
const heldBytesMax = 16 * 1_048_576;

/** A page of records: the key of its first, and the name under which it is kept, which is never used again. */
export interface PageRef {
  readonly from: string;
  readonly id: string;
}

/** Pages with some records changed: what now belongs to the room, what was made for it, what it no longer needs. */
export interface PagesMade {
  readonly pages: readonly PageRef[];
  readonly made: readonly string[];
  readonly replaced: readonly string[];
}

/** Pages of which none was changed. */
export const noPages: PagesMade = { pages: [], made: [], replaced: [] };

/** A page that is named and not there: the room has changed meanwhile. */
export class PageGone extends Error {}

const before = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/**
 * Records of a room, sorted by a key, in pages that never change: a changed one is written under a new name, and counts
 * once the room's entry names it. So who reads what an entry names sees one state, whoever writes meanwhile.
 */
export class Pages<T> {
  readonly #bucket: Bucket<readonly T[]>;
  readonly #keyOf: (record: T) => string;
  /** A page is read once: what an entry names stays as it is, also where it was erased since. */
  readonly #held = new Recent<readonly T[]>(heldBytesMax);

  /** `whole` completes a record that an earlier version wrote. */
  constructor(
    bucket: Bucket<readonly T[]>,
    keyOf: (record: T) => string,
    private readonly whole: (record: T) => T = (record) => record,
  ) {
    this.#bucket = bucket;
    this.#keyOf = keyOf;
  }

  /** The page in which a key would be. Errors: PageGone. */
  async around(roomId: string, pages: readonly PageRef[], key: string): Promise<readonly T[]> {
    const page = pages[this.#placeOf(pages, key)];
    return page === undefined ? [] : this.#read(roomId, page);
  }

  /** Every record, sorted. Errors: PageGone. */
  async all(roomId: string, pages: readonly PageRef[]): Promise<T[]> {
    return (await sideBySide(pages, (page) => this.#read(roomId, page))).flat();
  }

  /** Writes pages in which some records are there or differ. `merge` says what becomes of one. Errors: PageGone. */
  async changed(
    roomId: string,
    pages: readonly PageRef[],
    records: readonly T[],
    merge: (known: T | undefined, record: T) => T = (_, record) => record,
  ): Promise<PagesMade> {
    const byPlace = Map.groupBy(records, (record) => this.#placeOf(pages, this.#keyOf(record)));
    const places = [...byPlace.keys()];
    const rewritten = await sideBySide(places, async (place) => {
      const page = pages[place];
      const byKey = new Map<string, T>();
      for (const known of page === undefined ? [] : await this.#read(roomId, page))
        byKey.set(this.#keyOf(known), known);
      for (const record of byPlace.get(place) ?? []) {
        const key = this.#keyOf(record);
        byKey.set(key, merge(byKey.get(key), record));
      }
      return byKey;
    });
    const made = await this.#write(roomId, rewritten);
    const replaced = new Set(places.flatMap((place) => pages[place] ?? []));
    return {
      pages: [...pages.filter((page) => !replaced.has(page)), ...made].sort((a, b) => before(a.from, b.from)),
      made: made.map(({ id }) => id),
      replaced: [...replaced].map(({ id }) => id),
    };
  }

  /** Removes pages that no entry names. One that stays behind takes room and does nothing else. */
  async erase(roomId: string, ids: readonly string[]): Promise<void> {
    await sideBySide(ids, (id) => this.#bucket.erase(`${roomId}.${id}`).catch(() => undefined));
  }

  async #write(roomId: string, contents: readonly ReadonlyMap<string, T>[]): Promise<PageRef[]> {
    const full = contents.flatMap((byKey) => {
      const sorted = [...byKey].sort(([a], [b]) => before(a, b));
      const size = Math.ceil(sorted.length / Math.ceil(sorted.length / recordsMax));
      const parts = Math.ceil(sorted.length / size) || 0;
      return Array.from({ length: parts }, (_, part) => sorted.slice(part * size, (part + 1) * size));
    });
    return sideBySide(full, async (records) => {
      const page = { from: records[0]?.[0] ?? "", id: randomBytes(16).toString("base64url") };
      await this.#bucket.put(
        `${roomId}.${page.id}`,
        records.map(([, record]) => record),
      );
      return page;
    });
  }

  async #read(roomId: string, { id }: PageRef): Promise<readonly T[]> {
    const held = this.#held.get(id);
    if (held !== undefined) return held;
    const { value, bytes } = await this.#bucket.get(`${roomId}.${id}`);
    if (value === null) throw new PageGone(`page ${id} of ${roomId}`);
    const records = value.map(this.whole);
    this.#held.set(id, records, bytes);
    return records;
  }

  /** The last page that begins at the key or before it; the first for a key before all. */
  #placeOf(pages: readonly PageRef[], key: string): number {
    let [low, high] = [0, pages.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((pages[middle]?.from ?? "") <= key) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }
}
