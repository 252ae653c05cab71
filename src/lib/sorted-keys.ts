const before = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/**
 * A set of keys that is read in order, in pages. It sorts on the first read and from then on inserts in place, so that
 * filling it costs nothing more than a set.
 */
export class SortedKeys {
  readonly #keys = new Set<string>();
  #sorted: string[] | null = null;

  add(key: string): void {
    if (this.#keys.has(key)) return;
    this.#keys.add(key);
    this.#sorted?.splice(this.#placeOf(this.#sorted, key, false), 0, key);
  }

  delete(key: string): void {
    if (!this.#keys.delete(key)) return;
    this.#sorted?.splice(this.#placeOf(this.#sorted, key, false), 1);
  }

  /** At most `limit` keys after a key, ascending; from the first if `after` is null. */
  page(after: string | null, limit: number): string[] {
    this.#sorted ??= [...this.#keys].sort(before);
    const from = after === null ? 0 : this.#placeOf(this.#sorted, after, true);
    return this.#sorted.slice(from, from + limit);
  }

  /** The index of a key in the sorted list, or, with `behind`, the index after it. */
  #placeOf(sorted: readonly string[], key: string, behind: boolean): number {
    let [low, high] = [0, sorted.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const one = sorted[middle] ?? "";
      if (behind ? one <= key : one < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
