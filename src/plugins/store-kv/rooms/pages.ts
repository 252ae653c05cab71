import { randomBytes } from "node:crypto";
import { LruCache } from "../../../lib/lru-cache.ts";
import { sideBySide } from "../../../lib/side-by-side.ts";
import type { Bucket } from "../bucket.ts";

/** The most records of one page. A larger one is split. */
const recordsMax = 128;
/** The size of the page cache, in bytes of JSON. */
const heldBytesMax = 16 * 1_048_576;

/** A reference to a page: the key of its first record, and its id, which is never reused. */
export interface PageRef {
  readonly from: string;
  readonly id: string;
}

/** The result of a change: the new list of pages, the ids of the pages written, and of those no longer referenced. */
export interface PagesMade {
  readonly pages: readonly PageRef[];
  readonly made: readonly string[];
  readonly replaced: readonly string[];
}

/** The result of a change that changed no page. */
export const noPages: PagesMade = { pages: [], made: [], replaced: [] };

/** A referenced page does not exist: the room has changed since its head was read. */
export class PageGone extends Error {}

const before = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/**
 * Sorted records of a room, in immutable pages (copy-on-write). A change writes new pages, which take effect when the
 * room head references them. So a reader of one room head sees a consistent snapshot, even while others write.
 */
export class Pages<T> {
  readonly #bucket: Bucket<readonly T[]>;
  readonly #keyOf: (record: T) => string;
  /** Pages are immutable, so a cached page stays valid, even if it was erased since. */
  readonly #held = new LruCache<readonly T[]>(heldBytesMax);

  /** `whole` fills in fields that an earlier version did not write. */
  constructor(
    bucket: Bucket<readonly T[]>,
    keyOf: (record: T) => string,
    private readonly whole: (record: T) => T = (record) => record,
  ) {
    this.#bucket = bucket;
    this.#keyOf = keyOf;
  }

  /** Reads the page that would contain a key. Errors: PageGone. */
  async around(roomId: string, pages: readonly PageRef[], key: string): Promise<readonly T[]> {
    const page = pages[this.#placeOf(pages, key)];
    return page === undefined ? [] : this.#read(roomId, page);
  }

  /** Reads every record, sorted by key. Errors: PageGone. */
  async all(roomId: string, pages: readonly PageRef[]): Promise<T[]> {
    return (await sideBySide(pages, (page) => this.#read(roomId, page))).flat();
  }

  /**
   * Writes the pages in which records are added or changed. `merge` combines a known record with the new one. Errors:
   * PageGone.
   */
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

  /** Deletes pages that no room head references. A page that remains after a failure only wastes space. */
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

  /** The index of the last page that starts at or before a key; 0 for a key before all pages. */
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
