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
  #size = 0;

  /** `compare` returns a negative number if the first value comes first, and 0 for the same value. */
  constructor(private readonly compare: (one: T, other: T) => number) {}

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
    const number = this.#blockOf(value);
    const block = this.#blocks[number];
    if (block === undefined) return this.#append(value);
    const at = this.#placeIn(block, value);
    const found = block[at];
    if (found !== undefined && this.compare(found, value) === 0) return false;
    block.splice(at, 0, value);
    this.#size += 1;
    if (block.length > blockMax) this.#blocks.splice(number + 1, 0, block.splice(blockMax / 2));
    return true;
  }

  /** Removes a value. Returns whether it was in the list. */
  remove(value: T): boolean {
    const number = this.#blockOf(value);
    const block = this.#blocks[number];
    if (block === undefined) return false;
    const at = this.#placeIn(block, value);
    const found = block[at];
    if (found === undefined || this.compare(found, value) !== 0) return false;
    block.splice(at, 1);
    if (block.length === 0) this.#blocks.splice(number, 1);
    this.#size -= 1;
    return true;
  }

  /** The position of a value, from 0, or -1 if it is not in the list. */
  indexOf(value: T): number {
    const number = this.#blockOf(value);
    const block = this.#blocks[number];
    if (block === undefined) return -1;
    const at = this.#placeIn(block, value);
    const found = block[at];
    if (found === undefined || this.compare(found, value) !== 0) return -1;
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
  #append(value: T): true {
    const block = this.#blocks.at(-1);
    if (block === undefined || block.length >= blockMax) this.#blocks.push([value]);
    else block.push(value);
    this.#size += 1;
    return true;
  }

  /** The number of the first block whose last value does not come before a value. */
  #blockOf(value: T): number {
    let [low, high] = [0, this.#blocks.length];
    // Most values are added at the end.
    const last = this.last;
    if (last === undefined || this.compare(last, value) < 0) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const end = this.#blocks[middle]?.at(-1);
      if (end !== undefined && this.compare(end, value) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The position in a block before which no value reaches this one. */
  #placeIn(block: readonly T[], value: T): number {
    let [low, high] = [0, block.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.compare(block[middle] as T, value) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
