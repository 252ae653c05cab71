/**
 * A list that stays sorted while values are added and removed one at a time, in any order. It is a sequence of sorted
 * blocks of bounded size, so a change moves at most one block, however long the list is.
 */

/** The longest block. A block that exceeds it is split. */
const blockMax = 512;

/** A sorted list without duplicates: two values that compare as equal are the same value. */
export class SortedList<T> {
  /** Never contains an empty block. */
  readonly #blocks: T[][] = [];
  /** The rank of each value in each block. Numbers that are side by side are found faster than values. */
  readonly #ranks: number[][] = [];
  #size = 0;

  /**
   * `compare` returns a negative number if the first value comes first, and 0 for the same value. `rankOf`, for long
   * lists: values with different ranks are in the order of their ranks.
   */
  constructor(
    private readonly compare: (one: T, other: T) => number,
    private readonly rankOf: (value: T) => number = () => 0,
  ) {}

  get size(): number {
    return this.#size;
  }

  /** The first value, or undefined if the list is empty. */
  get first(): T | undefined {
    return this.#blocks[0]?.[0];
  }

  /** The last value, or undefined if the list is empty. */
  get last(): T | undefined {
    return this.#blocks.at(-1)?.at(-1);
  }

  /** Adds a value. Returns false if it is in the list already. */
  add(value: T): boolean {
    const rank = this.rankOf(value);
    const number = this.#blockOf(value, rank);
    const [block, ranks] = [this.#blocks[number], this.#ranks[number]];
    if (block === undefined || ranks === undefined) return this.#append(value, rank);
    const at = this.#placeIn(number, value, rank);
    if (at < block.length && this.#order(number, at, value, rank) === 0) return false;
    block.splice(at, 0, value);
    ranks.splice(at, 0, rank);
    this.#size += 1;
    if (block.length > blockMax) {
      this.#blocks.splice(number + 1, 0, block.splice(blockMax / 2));
      this.#ranks.splice(number + 1, 0, ranks.splice(blockMax / 2));
    }
    return true;
  }

  /** Removes a value. Returns whether it was in the list. */
  remove(value: T): boolean {
    const [number, at] = this.#find(value);
    if (at === -1) return false;
    for (const lists of [this.#blocks, this.#ranks]) {
      lists[number]?.splice(at, 1);
      if (lists[number]?.length === 0) lists.splice(number, 1);
    }
    this.#size -= 1;
    return true;
  }

  /** The position of a value, from 0, or -1 if it is not in the list. */
  indexOf(value: T): number {
    const [number, at] = this.#find(value);
    if (at === -1) return -1;
    let before = 0;
    for (let one = 0; one < number; one++) before += this.#blocks[one]?.length ?? 0;
    return before + at;
  }

  /** The values from a position up to another one, which is not included. */
  slice(start: number, end: number): T[] {
    const values: T[] = [];
    let before = 0;
    for (const block of this.#blocks) {
      if (before >= end) break;
      if (before + block.length > start) values.push(...block.slice(Math.max(start - before, 0), end - before));
      before += block.length;
    }
    return values;
  }

  *[Symbol.iterator](): Generator<T, undefined> {
    for (const block of this.#blocks) yield* block;
    return undefined;
  }

  /** Adds a value after all others. The last block is not split, so a list filled in order has full blocks. */
  #append(value: T, rank: number): true {
    const [block, ranks] = [this.#blocks.at(-1), this.#ranks.at(-1)];
    if (block === undefined || ranks === undefined || block.length >= blockMax) {
      this.#blocks.push([value]);
      this.#ranks.push([rank]);
    } else {
      block.push(value);
      ranks.push(rank);
    }
    this.#size += 1;
    return true;
  }

  /** The number of a value's block, and its position there; -1 if it is not in the list. */
  #find(value: T): readonly [number: number, at: number] {
    const rank = this.rankOf(value);
    const number = this.#blockOf(value, rank);
    const { length = 0 } = this.#blocks[number] ?? [];
    const at = this.#placeIn(number, value, rank);
    return [number, at < length && this.#order(number, at, value, rank) === 0 ? at : -1];
  }

  /** Compares the value at a place with another one. */
  #order(number: number, at: number, value: T, rank: number): number {
    const difference = (this.#ranks[number]?.[at] ?? 0) - rank;
    return difference !== 0 ? difference : this.compare(this.#blocks[number]?.[at] as T, value);
  }

  /** The number of the first block whose last value does not come before a value. */
  #blockOf(value: T, rank: number): number {
    let [low, high] = [0, this.#blocks.length];
    // Most values are added at the end.
    if (high === 0 || this.#isBlockBefore(high - 1, value, rank)) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#isBlockBefore(middle, value, rank)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #isBlockBefore(number: number, value: T, rank: number): boolean {
    const { length = 0 } = this.#blocks[number] ?? [];
    return this.#order(number, length - 1, value, rank) < 0;
  }

  /** The position in a block before which no value reaches this one. */
  #placeIn(number: number, value: T, rank: number): number {
    let [low, high] = [0, this.#blocks[number]?.length ?? 0];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#order(number, middle, value, rank) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
