/** One chain of a sender, as a reader has seen it: what is there, and which numbers are missing. Pure. */
import { noHash } from "../../wire/chain-entry.ts";

/** How many frames of a chain are remembered, to compare hashes. */
const windowMax = 1_024;
/** How many separate holes of a chain are remembered. More become one. */
const holesMax = 256;
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
  /** A sequence number of the room below that of the missing frames. */
  readonly seq: number;
  /** Whether the reader has not read what is stored there, so that nothing is known to be missing. */
  readonly isUnread?: boolean | undefined;
}

/** A place that another member's message names. */
interface Said {
  readonly hash: string;
  readonly by: string;
}

/** What is wrong with a frame that was added. */
export interface Conflict {
  readonly what: "fork";
  readonly n: number;
  readonly id: string;
  /** The member whose message says so; null if the chain itself shows it. */
  readonly saidBy: string | null;
}

/** How a frame was met. */
export interface Meeting {
  /** A sequence number of the room that is not above the frame's. */
  readonly seq: number;
  /** Whether the same read showed an earlier frame of the chain: numbers in between are missing, not only unread. */
  readonly isNext: boolean;
}

/** Keeps the newest entries of a map. */
function put<V>(map: Map<number, V>, n: number, value: V): void {
  map.set(n, value);
  if (map.size > windowMax) for (const oldest of map.keys()) return void map.delete(oldest);
}

/** One chain. Numbers below `base` are none of the reader's business: it may have joined later. */
export class ChainRecord {
  top = -1;
  base = 0;
  /** The highest number that the sender said is stored, with all below it; -1 if it said nothing of that kind. */
  stored = -1;
  holes: Hole[] = [];
  /** Whether the reader has read everything since it met the chain, so that a number that is left out is missing. */
  isLive = false;
  readonly #seen = new Map<number, Seen & { seq: number }>();
  /** The hash of each frame as the next one of the chain names it. */
  readonly #named = new Map<number, string>();
  readonly #said = new Map<number, Said>();
  /** The numbers that the sender declared as never stored: a frame that is there nevertheless may come at any time. */
  readonly #void = new Map<number, true>();
  #saidTop = -1;
  /** A sequence number of the room that is not above that of the newest frame. */
  #seq = 0;

  constructor(
    readonly from: string,
    private readonly startsAtZero: boolean,
  ) {}

  /** The hash that the frame with this number has, as far as anybody said. */
  hashOf(n: number): string | undefined {
    return this.#named.get(n) ?? this.#said.get(n)?.hash;
  }

  /** Whether a frame with this number may be stored after any other. */
  isVoid(n: number): boolean {
    return this.#void.has(n);
  }

  /** The newest numbers that only other members name, or null. */
  get tail(): (Hole & { readonly saidBy: string }) | null {
    if (this.#saidTop <= this.top) return null;
    const saidBy = this.#said.get(this.#saidTop)?.by ?? "";
    const after = this.#idOf(this.top);
    return { first: this.top + 1, last: this.#saidTop, after, before: null, seq: this.#seq, saidBy };
  }

  /** Adds a frame. Returns what contradicts what was there before. */
  add(n: number, previous: string, frame: Seen, { seq, isNext }: Meeting): Conflict[] {
    const known = this.#seen.get(n);
    if (known !== undefined) {
      known.seq = Math.max(known.seq, seq);
      return known.hash === frame.hash ? [] : [this.#fork(n, frame.id)];
    }
    const conflicts: Conflict[] = [];
    const named = this.#named.get(n);
    const said = this.#said.get(n);
    if (named !== undefined && named !== frame.hash) conflicts.push(this.#fork(n, frame.id));
    else if (said !== undefined && said.hash !== frame.hash) conflicts.push(this.#fork(n, frame.id, said.by));
    const before = this.#seen.get(n - 1);
    if (before !== undefined && before.hash !== previous) conflicts.push(this.#fork(n - 1, before.id));
    if (n > 0 && previous !== noHash) put(this.#named, n - 1, previous);
    if (n > this.top) this.#extend(n, frame.id, isNext);
    else if (n < this.base) {
      this.#hole({
        first: n + 1,
        last: this.base - 1,
        after: frame.id,
        before: this.#idOf(this.base),
        isUnread: true,
        seq,
      });
      this.base = n;
    } else this.fill(n, { id: frame.id, isNext });
    if (n === this.top) this.#seq = seq;
    put(this.#seen, n, { ...frame, seq });
    return conflicts;
  }

  /** Another member's message names a frame of this chain. */
  say(n: number, said: Said): Conflict[] {
    const seen = this.#seen.get(n);
    if (seen !== undefined) return seen.hash === said.hash ? [] : [this.#fork(n, seen.id, said.by)];
    if (n > this.top || this.#holeAt(n) !== undefined) put(this.#said, n, said);
    this.#saidTop = Math.max(this.#saidTop, n);
    return [];
  }

  /** The sender declares that a frame was never stored. */
  void(n: number): void {
    put(this.#void, n, true);
    this.fill(n);
  }

  /** A missing number is explained, or its frame is there. */
  fill(n: number, there?: { readonly id: string; readonly isNext: boolean }): void {
    const hole = this.#holeAt(n);
    if (hole === undefined) return;
    const rest = [
      { ...hole, last: n - 1, before: there?.id ?? hole.before, isUnread: hole.isUnread && there?.isNext !== true },
      { ...hole, first: n + 1, after: there?.id ?? hole.after },
    ];
    this.holes.splice(this.holes.indexOf(hole), 1, ...rest.filter(({ first, last }) => first <= last));
  }

  /**
   * A read in one piece left out a frame that was there before: its number is missing until it is there again. Unless
   * it was met behind the end of that read. `seq`, `end`: the sequence numbers around the read, not included.
   */
  lose(n: number, seq: number, end: number): boolean {
    const seen = this.#seen.get(n);
    if (seen === undefined || n < this.base || n >= this.top || seen.seq >= end - 1) return false;
    this.#seen.delete(n);
    put(this.#named, n, seen.hash);
    this.#hole({ first: n, last: n, after: this.#idOf(n - 1), before: this.#idOf(n + 1), seq });
    return true;
  }

  /** Everything between the frame with this number and the next one that is known was read. Without a number: all. */
  join(n?: number): void {
    this.isLive = true;
    this.holes = this.holes.map((hole) =>
      n === undefined || hole.first === n + 1 ? { ...hole, isUnread: false } : hole,
    );
  }

  /** The room was read from its first message on: numbers before the first frame are missing, too. */
  startAtZero(): void {
    const { base } = this;
    this.base = 0;
    if (base > 0) this.#hole({ first: 0, last: base - 1, after: null, before: this.#idOf(base), seq: 0 });
  }

  #idOf(n: number): string | null {
    return this.#seen.get(n)?.id ?? null;
  }

  #holeAt(n: number): Hole | undefined {
    return this.holes.find(({ first, last }) => first <= n && n <= last);
  }

  #hole(hole: Hole): void {
    if (hole.first > hole.last) return;
    const at = this.holes.findIndex(({ first }) => first > hole.last);
    this.holes.splice(at < 0 ? this.holes.length : at, 0, hole);
    for (const n of this.#void.keys()) if (n >= hole.first && n <= hole.last) this.fill(n);
    if (this.holes.length <= holesMax) return;
    const [one, two] = this.holes.splice(0, 2) as [Hole, Hole];
    const isUnread = one.isUnread === true || two.isUnread === true;
    this.holes.unshift({ ...one, last: two.last, before: two.before, isUnread });
  }

  #extend(n: number, id: string, isNext: boolean): void {
    const isFirst = this.top < 0;
    if (isFirst) this.base = this.startsAtZero ? 0 : n;
    const first = isFirst ? this.base : this.top + 1;
    const isUnread = !isFirst && !isNext;
    this.#hole({ first, last: n - 1, after: this.#idOf(this.top), before: id, seq: this.#seq, isUnread });
    this.top = n;
  }

  #fork(n: number, id: string, saidBy: string | null = null): Conflict {
    return { what: "fork", n, id, saidBy };
  }
}
