import { SortedList } from "../../lib/sorted-list.ts";

/** A message of a chain, as far as its order matters. */
export interface Chained {
  readonly id: string;
  /** `chain`: its place in its sender's chain, unless its sender keeps none. */
  readonly header: { readonly chain?: { readonly id: string; readonly n: number } | undefined };
}

/** Compares two texts by their code units, like the order of ULIDs. */
export const byText = (one: string, other: string): number => (one < other ? -1 : one === other ? 0 : 1);

const byId = (one: Chained, other: Chained): number => byText(one.id, other.id);
const numberOf = ({ header }: Chained): number => header.chain?.n ?? 0;
const byNumber = (one: Chained, other: Chained): number => numberOf(one) - numberOf(other) || byId(one, other);
const chainOf = ({ header }: Chained): string => header.chain?.id ?? "";

/**
 * Which of several messages by one sender about one thing counts: in a chain the last one by number, and between chains
 * the last one by id. The bus does not choose: the numbers are in the messages, and their order of arrival is not used.
 * Source: docs/protocol/timeline.md.
 */
export class LastWord<T extends Chained> {
  /** The only message, as long as there is no other one. Most things are said once. */
  #only: T | null = null;
  #chains: Map<string, SortedList<T>> | null = null;
  /** The last message of each chain. */
  #lasts: SortedList<T> | null = null;

  /** The message that counts, or null if there is none. */
  get last(): T | null {
    return this.#lasts?.last ?? this.#only;
  }

  /** Adds a message. */
  add(one: T): void {
    if (this.#lasts === null && this.#only === null) this.#only = one;
    else this.#change(one, (chain) => chain.add(one));
  }

  /** Removes a message. */
  remove(one: T): void {
    if (this.#only === one) this.#only = null;
    else if (this.#lasts !== null) this.#change(one, (chain) => chain.remove(one));
  }

  #change(one: T, change: (chain: SortedList<T>) => void): void {
    this.#chains ??= new Map();
    this.#lasts ??= new SortedList<T>(byId);
    const only = this.#only;
    this.#only = null;
    if (only !== null) this.#change(only, (chain) => chain.add(only));
    const key = chainOf(one);
    const chain = this.#chains.get(key) ?? new SortedList<T>(byNumber);
    const before = chain.last;
    change(chain);
    if (chain.size === 0) this.#chains.delete(key);
    else this.#chains.set(key, chain);
    if (before === chain.last) return;
    if (before !== undefined) this.#lasts.remove(before);
    if (chain.last !== undefined) this.#lasts.add(chain.last);
  }
}
