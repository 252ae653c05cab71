/**
 * Finds out from the chains of verified messages whether anything is missing, and what explains it. Pure: it gets
 * messages and returns what it found. Source: docs/protocol/history.md.
 */
import type { ChainEntry } from "../../wire/chain-entry.ts";
import type { EnvelopeHeader } from "../../wire/envelope.ts";
import { ChainRecord, type Conflict, type Hole } from "./chain-record.ts";

/** How many chains are remembered. Source: docs/protocol/limits.md. */
const chainsMax = { sender: 64, room: 1_000 } as const;
/** How many findings of a kind are kept, and how many hashes. */
const kept = { conflicts: 256, hashes: 65_536 } as const;

/** A verified message, as far as chains go. */
export interface LinkedMessage {
  readonly id: string;
  readonly from: string;
  /** The first half of the frame's sha256, 32 hex digits. */
  readonly hash: string;
  readonly header: Pick<EnvelopeHeader, "chain" | "heads" | "void">;
  /** The first half of the hash in a message of kind `delete`: the frame that was erased; or null. */
  readonly erased: string | null;
  /** Whether an owner sent it. */
  readonly byOwner: boolean;
}

/** Something that the chains show. Nothing explains it. */
export interface IntegrityFinding {
  /**
   * `gap`: messages are missing. `fork`: two messages have one place, so readers may see different histories. `order`:
   * a message is stored after one that was sent much later.
   */
  readonly what: "gap" | "fork" | "order";
  /** The sender of the missing or changed messages; null if only another member's word says that they exist. */
  readonly from: string | null;
  readonly chain: string;
  /** The numbers in the chain, both included. */
  readonly first: number;
  readonly last: number;
  /** The ids of the messages of this chain around the place, or null. */
  readonly after: string | null;
  readonly before: string | null;
  /** The member on whose word this rests, or null if the chain's own messages show it. */
  readonly saidBy: string | null;
}

interface Erasure {
  readonly hash: string;
  readonly by: string;
  readonly byOwner: boolean;
}

/** Adds to a set that forgets its oldest entries. */
function remember(set: Set<string>, one: string): void {
  set.add(one);
  if (set.size > kept.hashes) for (const oldest of set) return void set.delete(oldest);
}

/** The chains of one room, as one reader has seen them. */
export class Integrity {
  readonly #chains = new Map<string, ChainRecord>();
  /** Senders of whom chains were forgotten: a chain of theirs may be one of those. */
  readonly #forgot = new Set<string>();
  readonly #conflicts: IntegrityFinding[] = [];
  readonly #hashes = new Set<string>();
  readonly #erasures = new Map<string, Erasure>();
  readonly #dropped = new Set<string>();
  readonly #drops = new Map<string, number>();
  /** The heads that name chains that are unknown so far, by chain. */
  readonly #unknown = new Map<string, { readonly head: ChainEntry; readonly by: string }>();

  /**
   * `isWhole`: the messages begin with the room's first one. `isOrdered`: they are added in the order of the history.
   */
  constructor(private readonly options: { readonly isWhole: boolean; readonly isOrdered: boolean }) {}

  /** Adds a verified message. */
  add(message: LinkedMessage): void {
    const { from, hash, header, erased, byOwner } = message;
    remember(this.#hashes, hash);
    if (erased !== null && this.#erasures.size < kept.hashes)
      this.#erasures.set(erased, { hash: erased, by: from, byOwner });
    if (header.chain !== undefined) this.#place(message, header.chain);
    for (const head of header.heads ?? []) this.#hear(head, from);
  }

  /** This reader dropped a frame. `by`: its sender, if the signature proves it or the room has none. */
  dropped(hash: string, by: string | undefined): void {
    remember(this.#dropped, hash);
    if (by !== undefined) this.#drops.set(by, (this.#drops.get(by) ?? 0) + 1);
  }

  /** What is wrong and not explained, as of now. */
  findings(): IntegrityFinding[] {
    const found = [...this.#conflicts];
    const spare = this.#spareErasures();
    for (const [chain, record] of this.#chains) {
      const { from, tail } = record;
      const drops = { left: (this.#drops.get(from) ?? 0) - record.dropsBefore };
      for (const hole of record.holes.toReversed()) {
        const rest = this.#unexplained(record, hole, spare, drops);
        if (rest !== null) found.push({ what: "gap", from, chain, ...rest, saidBy: null });
      }
      const rest = tail === null ? null : this.#unexplained(record, tail, spare, drops);
      if (rest !== null && tail !== null) found.push({ what: "gap", from, chain, ...rest, saidBy: tail.saidBy });
    }
    if (!this.options.isWhole || this.#forgot.size > 0) return found;
    for (const [chain, { head, by }] of this.#unknown) {
      if (this.#dropped.has(head.hash) || this.#erasures.has(head.hash)) continue;
      const place = { first: head.n, last: head.n, after: null, before: null };
      found.push({ what: "gap", from: null, chain, ...place, saidBy: by });
    }
    return found;
  }

  #place(message: LinkedMessage, { id: chain, n, hash: previous }: ChainEntry): void {
    const { from, id, hash, header } = message;
    const record = this.#recordOf(chain, from);
    // A chain has one sender. Another member who uses its id would make holes in it.
    if (record.from !== from) return;
    this.#conflict(chain, record, record.add(n, previous, { id, hash }, this.options.isOrdered));
    for (const gone of header.void ?? []) if (gone < n) record.fill(gone);
  }

  #hear(head: ChainEntry, by: string): void {
    const record = this.#chains.get(head.id);
    if (record !== undefined) {
      this.#conflict(head.id, record, record.say(head.n, { hash: head.hash, by }));
      return;
    }
    const known = this.#unknown.get(head.id);
    if (known === undefined ? this.#unknown.size < chainsMax.room : known.head.n < head.n) {
      this.#unknown.set(head.id, { head, by });
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
    const drops = this.#drops.get(from) ?? 0;
    const record = new ChainRecord(from, this.options.isWhole && drops === 0 && !this.#forgot.has(from), drops);
    this.#chains.set(chain, record);
    this.#forget(from);
    const heard = this.#unknown.get(chain);
    if (heard !== undefined) {
      this.#unknown.delete(chain);
      record.say(heard.head.n, { hash: heard.head.hash, by: heard.by });
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

  #conflict(chain: string, { from }: ChainRecord, conflicts: readonly Conflict[]): void {
    for (const { what, n, id, saidBy } of conflicts) {
      if (this.#conflicts.length >= kept.conflicts) return;
      this.#conflicts.push({ what, from, chain, first: n, last: n, after: id, before: null, saidBy });
    }
  }

  /** The erasures that belong to no frame whose hash is known: each explains one number whose hash is not. */
  #spareErasures(): Set<Erasure> {
    const named = new Set<string>();
    for (const record of this.#chains.values()) {
      for (const { last } of [...record.holes, ...(record.tail === null ? [] : [record.tail])]) {
        const hash = record.hashOf(last);
        if (hash !== undefined) named.add(hash);
      }
    }
    return new Set([...this.#erasures.values()].filter(({ hash }) => !this.#hashes.has(hash) && !named.has(hash)));
  }

  /** The part of a hole that nothing explains, or null. From its end on, where the hash is known. */
  #unexplained(record: ChainRecord, hole: Hole, spare: Set<Erasure>, drops: { left: number }): Hole | null {
    const mayErase = ({ by, byOwner }: Erasure) => byOwner || by === record.from;
    const { first, after, before } = hole;
    for (let last = hole.last; last >= first; last--) {
      const hash = record.hashOf(last);
      if (hash !== undefined) {
        const erasure = this.#erasures.get(hash);
        if (this.#dropped.has(hash) || (erasure !== undefined && mayErase(erasure))) continue;
        return { first, last, after, before };
      }
      const erasure = [...spare].find(mayErase);
      if (erasure !== undefined) spare.delete(erasure);
      else if (drops.left > 0) drops.left -= 1;
      else return { first, last, after, before };
    }
    return null;
  }
}
