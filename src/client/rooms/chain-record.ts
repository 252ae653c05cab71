/** One chain of a sender, as a reader has seen it: what is there, and which numbers are missing. Pure. */
import { noHash } from "../../wire/chain-entry.ts";
import { ulidTimeMs } from "../../wire/ulid.ts";

/** How many frames of a chain are remembered, to compare hashes. */
const windowMax = 1_024;
/** How many separate holes of a chain are remembered. More become one. */
const holesMax = 256;
/**
 * A frame that is stored after a later one of its chain was in flight with it, unless their times differ by more. Until
 * then a client may send it again. In milliseconds. Source: docs/protocol/history.md.
 */
const inFlightMs = 120_000;

/** A frame of a chain. */
export interface Seen {
  readonly id: string;
  /** The first half of its sha256. */
  readonly hash: string;
}

/** Numbers that are missing, both ends included, and the ids of the frames around them. */
export interface Hole {
  readonly first: number;
  readonly last: number;
  readonly after: string | null;
  readonly before: string | null;
}

/** A place that another member's message names. */
interface Said {
  readonly hash: string;
  readonly by: string;
}

/** What is wrong with a frame that was added. */
export interface Conflict {
  readonly what: "fork" | "order";
  readonly n: number;
  readonly id: string;
  /** The member whose message says so; null if the chain itself shows it. */
  readonly saidBy: string | null;
}

/** Keeps the newest entries of a map. */
function put<V>(map: Map<number, V>, n: number, value: V): void {
  map.set(n, value);
  if (map.size > windowMax) for (const oldest of map.keys()) return void map.delete(oldest);
}

/** One chain. Numbers below `base` are none of the reader's business: it may have joined later. */
export class ChainRecord {
  top = -1;
  holes: Hole[] = [];
  readonly #seen = new Map<number, Seen>();
  /** The hash of each frame as the next one of the chain names it. */
  readonly #named = new Map<number, string>();
  readonly #said = new Map<number, Said>();
  #saidTop = -1;

  /** `dropsBefore`: how many of the sender's frames the reader had dropped when it first met the chain. */
  constructor(
    readonly from: string,
    private readonly startsAtZero: boolean,
    readonly dropsBefore: number,
  ) {}

  /** The hash that the frame with this number has, as far as anybody said. */
  hashOf(n: number): string | undefined {
    return this.#named.get(n) ?? this.#said.get(n)?.hash;
  }

  /** The newest numbers that only other members name, or null. */
  get tail(): (Hole & { readonly saidBy: string }) | null {
    if (this.#saidTop <= this.top) return null;
    const saidBy = this.#said.get(this.#saidTop)?.by ?? "";
    return {
      first: this.top + 1,
      last: this.#saidTop,
      after: this.#seen.get(this.top)?.id ?? null,
      before: null,
      saidBy,
    };
  }

  /** Adds a frame. `isOrdered`: frames arrive as they are stored. Returns what contradicts what was there before. */
  add(n: number, previous: string, frame: Seen, isOrdered: boolean): Conflict[] {
    const known = this.#seen.get(n);
    if (known !== undefined) return known.hash === frame.hash ? [] : [this.#fork(n, frame.id)];
    const conflicts: Conflict[] = [];
    const named = this.#named.get(n);
    const said = this.#said.get(n);
    if (named !== undefined && named !== frame.hash) conflicts.push(this.#fork(n, frame.id));
    else if (said !== undefined && said.hash !== frame.hash) conflicts.push(this.#fork(n, frame.id, said.by));
    const before = this.#seen.get(n - 1);
    if (before !== undefined && before.hash !== previous) conflicts.push(this.#fork(n - 1, before.id));
    if (n > 0 && previous !== noHash) put(this.#named, n - 1, previous);
    if (n > this.top) this.#extend(n, frame.id);
    else {
      if (isOrdered && this.#isTooLate(n, frame.id)) conflicts.push({ what: "order", n, id: frame.id, saidBy: null });
      this.fill(n);
    }
    put(this.#seen, n, frame);
    return conflicts;
  }

  /** Another member's message names a frame of this chain. */
  say(n: number, said: Said): Conflict[] {
    const seen = this.#seen.get(n);
    if (seen !== undefined) return seen.hash === said.hash ? [] : [this.#fork(n, seen.id, said.by)];
    if (n > this.top || this.holes.some(({ first, last }) => first <= n && n <= last)) put(this.#said, n, said);
    this.#saidTop = Math.max(this.#saidTop, n);
    return [];
  }

  /** A missing number is explained, or its frame is there. */
  fill(n: number): void {
    const at = this.holes.findIndex(({ first, last }) => first <= n && n <= last);
    const hole = this.holes[at];
    if (hole === undefined) return;
    const rest = [
      { ...hole, last: n - 1 },
      { ...hole, first: n + 1 },
    ];
    this.holes.splice(at, 1, ...rest.filter(({ first, last }) => first <= last));
  }

  #extend(n: number, id: string): void {
    const isFirst = this.top < 0;
    const start = isFirst && !this.startsAtZero ? n : this.top + 1;
    const after = this.#seen.get(this.top)?.id ?? null;
    if (start < n) this.holes.push({ first: start, last: n - 1, after, before: id });
    if (this.holes.length > holesMax) {
      const [one, two] = this.holes.splice(0, 2) as [Hole, Hole];
      this.holes.unshift({ ...one, last: two.last, before: two.before });
    }
    this.top = n;
  }

  #isTooLate(n: number, id: string): boolean {
    const endMs = ulidTimeMs(id) + inFlightMs;
    for (const [other, seen] of this.#seen) if (other > n && ulidTimeMs(seen.id) > endMs) return true;
    return false;
  }

  #fork(n: number, id: string, saidBy: string | null = null): Conflict {
    return { what: "fork", n, id, saidBy };
  }
}
