/**
 * Finds out from the chains of verified messages whether anything is missing, and what explains it. Pure: it gets
 * messages and returns what it found. Source: docs/protocol/history.md.
 */
import type { ChainEntry, StatementTag } from "../../wire/chain-entry.ts";
import type { EnvelopeHeader } from "../../wire/envelope.ts";
import { ChainRecord, type Conflict, type Hole } from "./chain-record.ts";
import type { HistoryRead } from "./history-read.ts";

/** How many chains are remembered. Source: docs/protocol/history.md. */
const chainsMax = { sender: 64, room: 1_000 } as const;
/** How many findings of a kind are kept, of them on one member's word, and how many hashes. */
const kept = { conflicts: 256, ofOne: 16, hashes: 65_536 } as const;

/** A verified message, as far as chains go. */
export interface LinkedMessage {
  readonly id: string;
  readonly from: string;
  /** The first half of the frame's sha256, 32 hex digits. */
  readonly hash: string;
  readonly header: Pick<EnvelopeHeader, "chain" | "heads" | "statement" | "void">;
  /** The first half of the hash in a message of kind `delete`: the frame that was erased; or null. */
  readonly erased: string | null;
  /** Whether an owner sent it. */
  readonly byOwner: boolean;
}

/** Something that the chains show. Nothing explains it. */
export interface IntegrityFinding {
  /**
   * `gap`: messages are missing. `fork`: two messages have one place, so readers may see different histories. `order`:
   * a message is stored after one that was sent later. `statement`: a message names a statement of the room that the
   * server does not show.
   */
  readonly what: "gap" | "fork" | "order" | "statement";
  /** The sender of the missing or changed messages; null if only another member's word says that they exist. */
  readonly from: string | null;
  readonly chain: string;
  /** The numbers in the chain, both included; of a statement its version. */
  readonly first: number;
  readonly last: number;
  /** The ids of the messages of this chain around the place, or null. */
  readonly after: string | null;
  readonly before: string | null;
  /** The member on whose word this rests, or null if the chain's own messages show it. */
  readonly saidBy: string | null;
  /** A sequence number of the room below that of the missing messages. */
  readonly seq: number;
  /**
   * Whether its sender may still be sending what is missing: `no` if it said that it is stored, `yes` if it did not say
   * so, although it says such things.
   */
  readonly inFlight: "no" | "maybe" | "yes";
}

/** What explains that a message is absent: the member who deleted it, or the reason why this reader dropped it. */
export type Explanation =
  | { readonly from: string; readonly chain: string; readonly n: number; readonly erasedBy: string }
  | { readonly from: string; readonly chain: string; readonly n: number; readonly dropped: string };

interface Erasure {
  readonly hash: string;
  readonly by: string;
  readonly byOwner: boolean;
}

/** Someone's word, with where in the room it was said. */
interface Word<T> {
  readonly said: T;
  readonly by: string;
  readonly id: string;
  readonly seq: number;
}

/** Adds to a map that forgets its oldest entries. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.set(key, value);
  if (map.size > kept.hashes) for (const oldest of map.keys()) return void map.delete(oldest);
}

/** The chains of one room, as one reader has seen them. */
export class Integrity {
  /** Grows when a message may have shown that something is missing or wrong. */
  suspicions = 0;
  /** Whether the room deletes its oldest messages when it is full. */
  dropsOldest = false;
  /** What explained the absences of the last `findings`. */
  explained: readonly Explanation[] = [];
  readonly #chains = new Map<string, ChainRecord>();
  /** Senders of whom chains were forgotten: a chain of theirs may be one of those. */
  readonly #forgot = new Set<string>();
  readonly #conflicts: IntegrityFinding[] = [];
  readonly #hashes = new Map<string, true>();
  readonly #erasures = new Map<string, Erasure>();
  /** The reasons for which this reader dropped frames, by hash. */
  readonly #dropped = new Map<string, string>();
  readonly #drops = new Map<string, { readonly count: number; readonly reason: string }>();
  /** The heads that name chains that are unknown so far, by chain. */
  readonly #unknown = new Map<string, Word<ChainEntry>>();
  /** The latest statement of each sender that the room did not have. */
  readonly #statements = new Map<string, Word<StatementTag>>();
  /** The room's first readable message, and the one with which the history began later instead. */
  #first: { readonly message: LinkedMessage; readonly seq: number } | null = null;
  #risenTo: LinkedMessage | null = null;
  #isWhole = false;

  /** `knows`: whether the room has a statement, as far as this reader can tell. */
  constructor(private readonly knows: (statement: StatementTag) => boolean = () => true) {}

  /** Whether a frame was added or dropped. */
  has(hash: string): boolean {
    return this.#hashes.has(hash) || this.#dropped.has(hash);
  }

  /** Whether this reader dropped the frame. */
  hasDropped(hash: string): boolean {
    return this.#dropped.has(hash);
  }

  /**
   * Adds a verified message. `seq`: a sequence number of the room that is not above the message's. `read`: the read of
   * the history that showed it; null if it came live.
   */
  add(message: LinkedMessage, seq = 0, read: HistoryRead | null = null): void {
    const { id, from, hash, header, erased, byOwner } = message;
    if (hash === this.#first?.message.hash) this.#risenTo = null;
    remember(this.#hashes, hash, true);
    if (erased !== null && this.#erasures.size < kept.hashes)
      this.#erasures.set(erased, { hash: erased, by: from, byOwner });
    const { chain, statement } = header;
    const own = header.heads?.find((head) => head.id === chain?.id);
    if (chain !== undefined) this.#place(message, chain, seq, read, own?.n ?? -1);
    for (const head of header.heads ?? []) this.#hear(head, { by: from, id, seq });
    if (statement === undefined || this.knows(statement)) return;
    if (!this.#statements.has(from)) this.suspicions += 1;
    if (this.#statements.size < chainsMax.room) this.#statements.set(from, { said: statement, by: from, id, seq });
  }

  /**
   * Adds a page of the history in its order: a frame that was there before, and that the page leaves out, is missing.
   * `seq`: the sequence number before the page. `end`: the one behind it if the reader has what follows there; infinity
   * if that is the end of the history; or null.
   */
  page(messages: readonly LinkedMessage[], seq: number, read: HistoryRead, end: number | null = null): void {
    const tops = new Map<string, number>();
    for (const { header } of messages)
      if (header.chain !== undefined) tops.set(header.chain.id, read.topOf(header.chain.id));
    for (const message of messages) this.add(message, seq, read);
    for (const [chain, before] of tops) {
      const record = this.#chains.get(chain);
      if (record === undefined) continue;
      const top = read.topOf(chain);
      for (const n of read.skipped(chain, before, top)) if (record.lose(n, seq, end ?? Infinity)) this.suspicions += 1;
      if (end !== null) record.join(top);
    }
    if (end !== null) this.suspicions += 1;
  }

  /** The reader begins to read live, and may not have read what was sent before. */
  begin(): void {
    this.#isWhole = false;
    for (const record of this.#chains.values()) record.isLive = false;
  }

  /**
   * The reader has everything from the first readable message on, which has this sequence number in the room: from the
   * room's very first one on, if that is 1.
   */
  start(message: LinkedMessage, seq: number): void {
    this.suspicions += 1;
    if (this.#first !== null && seq > this.#first.seq) this.#risenTo = message;
    else this.#first = { message, seq };
    for (const record of this.#chains.values()) {
      record.join();
      if (seq <= 1 && !this.#drops.has(record.from) && !this.#forgot.has(record.from)) record.startAtZero();
    }
    this.#isWhole ||= seq <= 1;
  }

  /** This reader dropped a frame. `by`: its sender, if the signature proves it or the room has none. */
  dropped(hash: string, by: string | undefined, reason: string): void {
    if (this.has(hash)) return;
    remember(this.#dropped, hash, reason);
    if (by !== undefined) this.#drops.set(by, { count: (this.#drops.get(by)?.count ?? 0) + 1, reason });
  }

  /** What is wrong and not explained, as of now. */
  findings(): IntegrityFinding[] {
    const found = [...this.#conflicts];
    const counts = new Map<string, number>();
    const report = (finding: IntegrityFinding) => {
      const { chain, last, saidBy } = finding;
      const next = found.at(-1);
      if (next?.chain === chain && next.first === last + 1 && next.saidBy === saidBy) {
        // Two pages may have left out one part each.
        const { first, after, seq } = finding;
        found[found.length - 1] = { ...next, first, after, seq };
        return;
      }
      const by = saidBy ?? finding.from ?? "";
      const count = counts.get(by) ?? 0;
      // No member fills all places.
      if (count < kept.ofOne) found.push(finding);
      counts.set(by, count + 1);
    };
    const explained: Explanation[] = [];
    const spare = this.#spareErasures();
    const drops = new Map([...this.#drops].map(([from, { count }]) => [from, count]));
    for (const [chain, record] of this.#chains) {
      const { from, tail } = record;
      const tails = tail === null ? [] : [tail];
      for (const hole of [...record.holes.filter(({ isUnread }) => isUnread !== true).toReversed(), ...tails]) {
        const rest = this.#unexplained(chain, record, hole, { spare, drops, explained });
        const saidBy = hole === tail ? tail.saidBy : null;
        if (rest === null) continue;
        const isKnown = record.stored >= rest.last;
        const inFlight = isKnown ? "no" : record.stored < 0 || saidBy !== null ? "maybe" : "yes";
        report({ what: "gap", from, chain, ...rest, saidBy, inFlight });
      }
    }
    this.#findRisen(report, explained);
    this.explained = explained.slice(0, kept.conflicts);
    for (const [by, { said, id, seq }] of this.#statements) {
      if (this.knows(said)) this.#statements.delete(by);
      else {
        const { version, hash } = said;
        const place = { first: version, last: version, after: id, before: null, seq };
        report({ what: "statement", from: null, chain: hash, ...place, saidBy: by, inFlight: "no" });
      }
    }
    if (!this.#isWhole || this.#forgot.size > 0) return found;
    for (const [chain, { said, by, seq }] of this.#unknown) {
      if (this.#dropped.has(said.hash) || this.#erasures.has(said.hash)) continue;
      const place = { first: said.n, last: said.n, after: null, before: null, seq };
      report({ what: "gap", from: null, chain, ...place, saidBy: by, inFlight: "maybe" });
    }
    return found;
  }

  #place(message: LinkedMessage, entry: ChainEntry, seq: number, read: HistoryRead | null, stored: number): void {
    const { id: chain, n, hash: previous } = entry;
    const { from, id, hash, header } = message;
    const record = this.#recordOf(chain, from);
    // A chain has one sender. Another member who uses its id would make holes in it.
    if (record.from !== from) return;
    const holes = record.holes.length;
    record.stored = Math.max(record.stored, stored);
    const isNext = read === null ? record.isLive : read.has(chain);
    this.#conflict(chain, record, record.add(n, previous, { id, hash }, { seq, isNext }));
    if (read === null) record.isLive = true;
    else if (read.add(chain, n, id, stored, record.isVoid(n))) this.#late(chain, from, n, id, seq);
    for (const gone of header.void ?? []) if (gone < n) record.void(gone);
    if (record.holes.length > holes) this.suspicions += 1;
  }

  /** Reports that the history begins later than before, unless its first message was erased. */
  #findRisen(report: (finding: IntegrityFinding) => void, explained: Explanation[]): void {
    const [first, next] = [this.#first, this.#risenTo];
    if (first === null || next === null || this.dropsOldest) return;
    const { hash, from, header } = first.message;
    const { id: chain, n } = header.chain ?? { id: hash, n: 0 };
    const erasure = this.#erasures.get(hash);
    if (erasure?.byOwner || erasure?.by === from) explained.push({ from, chain, n, erasedBy: erasure.by });
    else {
      const place = { first: n, last: n, after: null, before: next.id, saidBy: null, seq: first.seq - 1 };
      report({ what: "gap", from, chain, ...place, inFlight: "no" });
    }
  }

  #hear(said: ChainEntry, { by, id, seq }: Pick<Word<ChainEntry>, "by" | "id" | "seq">): void {
    const record = this.#chains.get(said.id);
    if (record !== undefined) {
      if (said.n > record.top) this.suspicions += 1;
      this.#conflict(said.id, record, record.say(said.n, { hash: said.hash, by }));
      return;
    }
    const known = this.#unknown.get(said.id);
    if (known === undefined ? this.#unknown.size < chainsMax.room : known.said.n < said.n) {
      this.suspicions += 1;
      this.#unknown.set(said.id, { said, by, id, seq });
    }
  }

  #recordOf(chain: string, from: string): ChainRecord {
    const known = this.#chains.get(chain);
    if (known !== undefined) {
      // The chain that was used last is forgotten last.
      this.#chains.delete(chain);
      this.#chains.set(chain, known);
      return known;
    }
    const record = new ChainRecord(from, this.#isWhole && !this.#drops.has(from) && !this.#forgot.has(from));
    this.#chains.set(chain, record);
    this.#forget(from);
    const heard = this.#unknown.get(chain);
    if (heard !== undefined) {
      this.#unknown.delete(chain);
      record.say(heard.said.n, { hash: heard.said.hash, by: heard.by });
    }
    return record;
  }

  #forget(from: string): void {
    const own = [...this.#chains].filter(([, record]) => record.from === from);
    const [oldest] = own.length > chainsMax.sender ? own : this.#chains.size > chainsMax.room ? this.#chains : [];
    if (oldest === undefined) return;
    this.#chains.delete(oldest[0]);
    this.#forgot.add(oldest[1].from);
  }

  #late(chain: string, from: string, n: number, id: string, seq: number): void {
    const place = { first: n, last: n, after: id, before: null, saidBy: null, seq };
    this.#keep({ what: "order", from, chain, ...place, inFlight: "no" });
  }

  #conflict(chain: string, { from }: ChainRecord, conflicts: readonly Conflict[]): void {
    for (const { n, id, saidBy } of conflicts) {
      const place = { first: n, last: n, after: id, before: null, seq: 0 };
      this.#keep({ what: "fork", from, chain, ...place, saidBy, inFlight: "no" });
    }
  }

  #keep(conflict: IntegrityFinding): void {
    const isKnown = ({ what, chain, first, saidBy }: IntegrityFinding) =>
      what === conflict.what && chain === conflict.chain && first === conflict.first && saidBy === conflict.saidBy;
    if (this.#conflicts.length >= kept.conflicts || this.#conflicts.some(isKnown)) return;
    this.#conflicts.push(conflict);
    this.suspicions += 1;
  }

  /** The erasures that belong to no frame whose hash is known: each explains one number whose hash is not. */
  #spareErasures(): Spare {
    const spare: Spare = { owners: [], others: new Map() };
    if (this.#erasures.size === 0) return spare;
    const named = new Set<string>();
    for (const record of this.#chains.values()) {
      for (const { last } of [...record.holes, ...(record.tail === null ? [] : [record.tail])]) {
        const hash = record.hashOf(last);
        if (hash !== undefined) named.add(hash);
      }
    }
    for (const erasure of this.#erasures.values()) {
      const { hash, by, byOwner } = erasure;
      if (this.#hashes.has(hash) || named.has(hash)) continue;
      const list = byOwner ? spare.owners : (spare.others.get(by) ?? []);
      list.push(erasure);
      if (!byOwner) spare.others.set(by, list);
    }
    return spare;
  }

  /** The part of a hole that nothing explains, or null. From its end on, where the hash is known. */
  #unexplained(chain: string, record: ChainRecord, hole: Hole, given: Given): Omit<Hole, "isUnread"> | null {
    const { from } = record;
    const { first, after, before, seq } = hole;
    const { spare, explained } = given;
    for (let n = hole.last; n >= first; n--) {
      const place = { from, chain, n };
      const hash = record.hashOf(n);
      const reason = hash === undefined ? undefined : this.#dropped.get(hash);
      const erasure =
        hash === undefined ? (spare.others.get(from)?.pop() ?? spare.owners.pop()) : this.#erasures.get(hash);
      const drop = this.#drops.get(from);
      const left = given.drops.get(from) ?? 0;
      const isDropped = reason !== undefined || (hash === undefined && erasure === undefined && left > 0);
      if (isDropped) given.drops.set(from, left - 1);
      if (isDropped) explained.push({ ...place, dropped: reason ?? drop?.reason ?? "" });
      else if (erasure?.byOwner || erasure?.by === from) explained.push({ ...place, erasedBy: erasure.by });
      else return { first, last: n, after, before, seq };
    }
    return null;
  }
}

interface Spare {
  readonly owners: Erasure[];
  readonly others: Map<string, Erasure[]>;
}

interface Given {
  readonly spare: Spare;
  /** How many frames of a sender were dropped and explain no number yet. */
  readonly drops: Map<string, number>;
  readonly explained: Explanation[];
}
