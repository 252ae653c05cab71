import { blobBytesMin, blobCharge } from "../../contracts/blobs.ts";
import type { JetStream } from "../../nats/jetstream.ts";
import { lastMessage } from "../../nats/messages.ts";
import { expectReply } from "./errors.ts";
import { blobStream, expectedLast, isLost, listSubjects, subjects } from "./stream.ts";

/** How long a charge is cached, in milliseconds. */
const ageMsMax = 1_000;
/** How many owners are cached. */
const ownersMax = 10_000;
/** How often a read is repeated because a commit ran at the same time. */
const readsMax = 5;

/** An owner's charge, and the revision for a compare-and-set. */
export interface Charge {
  readonly bytes: number;
  readonly revision: number;
}

/** A charge as stored. `least`: the minimum charge that was applied to each blob; absent before 0.2.0. */
interface KeptCharge {
  readonly bytes: number;
  readonly least?: number;
}

/** Encodes the message of a charge. */
export function chargePayload(bytes: number): string {
  return JSON.stringify({ bytes, least: blobBytesMin } satisfies KeptCharge);
}

interface Known {
  bytes: number;
  /** The revision that `bytes` is of; -1 before the first read. */
  revision: number;
  at: number;
  /** Number of this node's commits in progress. */
  commits: number;
  /** Incremented when a commit of this node begins or ends. */
  turn: number;
}

/**
 * Caches what owners are charged. The stream is authoritative; the cache avoids a read for each chunk of an upload. A
 * commit of this node becomes visible only when it ends, so a caller that adds reserved bytes counts none twice.
 */
export class Charges {
  readonly #js: JetStream;
  readonly #known = new Map<string, Known>();

  constructor(js: JetStream) {
    this.#js = js;
  }

  /** Reads a charge from the stream. Errors: unavailable. */
  async read(owner: string): Promise<Charge> {
    const { bytes, revision } = await this.#kept(owner);
    return { bytes, revision };
  }

  async #kept(owner: string): Promise<Charge & KeptCharge> {
    const found = await lastMessage(this.#js, blobStream, subjects.charge(owner));
    if (found === null) return { bytes: 0, revision: 0, least: blobBytesMin };
    return { ...(JSON.parse(Buffer.from(found.data).toString()) as KeptCharge), revision: found.seq };
  }

  /**
   * Raises every blob's charge to the minimum, once: an older version charged only the size. `sizesOf` returns the
   * sizes of all blobs by owner and is called only if an owner needs it. An owner whose charge changes in the meantime
   * is left for the next start. Errors: unavailable.
   */
  async raise(sizesOf: () => Promise<ReadonlyMap<string, readonly number[]>>): Promise<void> {
    const old = new Map<string, Charge>();
    for await (const [owner] of listSubjects(this.#js, "charge")) {
      const kept = await this.#kept(owner);
      if (kept.least !== blobBytesMin) old.set(owner, kept);
    }
    if (old.size === 0) return;
    const sizes = await sizesOf();
    for (const [owner, { revision }] of old) {
      const bytes = (sizes.get(owner) ?? []).reduce((sum, size) => sum + blobCharge(size), 0);
      const headers = { [expectedLast]: String(revision) };
      const draft = { subject: subjects.charge(owner), payload: chargePayload(bytes), headers };
      const reply = await this.#js.publish(draft);
      if (isLost(reply)) continue;
      expectReply(reply);
      this.note(owner, { bytes, revision: reply.seq });
    }
  }

  /** The bytes charged to an owner, possibly cached. Errors: unavailable. */
  async bytesOf(owner: string): Promise<number> {
    for (let reads = 0; ; reads++) {
      const known = this.#of(owner);
      const isFresh = performance.now() - known.at < ageMsMax;
      if (isFresh || (known.commits > 0 && known.at > Number.NEGATIVE_INFINITY)) return known.bytes;
      const { turn } = known;
      const charge = await this.read(owner);
      if (known.turn !== turn && reads < readsMax) continue;
      this.note(owner, charge);
      return known.bytes;
    }
  }

  /** Runs a commit, whose noted charge becomes visible when it ends. Errors: those of `commit`. */
  async during<T>(owner: string, commit: () => Promise<T>): Promise<T> {
    await this.bytesOf(owner);
    const known = this.#of(owner);
    known.commits += 1;
    known.turn += 1;
    try {
      return await commit();
    } finally {
      known.commits -= 1;
      known.turn += 1;
    }
  }

  /** Caches an owner's charge, unless a newer one is cached. */
  note(owner: string, { bytes, revision }: Charge): void {
    const known = this.#of(owner);
    if (revision >= known.revision) Object.assign(known, { bytes, revision });
    known.at = performance.now();
  }

  /** Forgets an owner's charge, because a commit without an answer may have changed it. */
  forget(owner: string): void {
    this.#of(owner).at = Number.NEGATIVE_INFINITY;
  }

  #of(owner: string): Known {
    const known = this.#known.get(owner);
    if (known !== undefined) return known;
    if (this.#known.size >= ownersMax) {
      for (const [name, { commits }] of this.#known) if (commits === 0) this.#known.delete(name);
    }
    const fresh = { bytes: 0, revision: -1, at: Number.NEGATIVE_INFINITY, commits: 0, turn: 0 };
    this.#known.set(owner, fresh);
    return fresh;
  }
}
