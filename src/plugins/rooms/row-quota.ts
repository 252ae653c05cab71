/**
 * The quota of control-plane rows: `rooms.rows_per_owner` bytes for the signer of each statement. A change reserves its
 * cost before it is stored, so that parallel changes cannot exceed the quota together. The store computes the sum. A
 * node caches it for 2 s, so the nodes of a cluster may exceed the quota by what the others admit in that time.
 * Source: docs/protocol/limits.md.
 */
import type { Charges } from "../../contracts/rows.ts";
import type { RoomStore } from "../../contracts/store.ts";
import { UnibusError } from "../../wire/errors.ts";

/** How far removals may overdraw the quota, in bytes. Source: docs/protocol/limits.md. */
export const overdraftBytes = 67_108_864;
/** How long a payer's sum is cached, in milliseconds. */
const ageMsMax = 2_000;
/** Maximum number of payers in memory without a change in progress. */
const payersMax = 10_000;

/** The kind of a change. A removal may overdraw the quota. */
export type RowLimit = "grows" | "removes";

interface Known {
  /** The sum that the store returned, plus what was committed here since. */
  bytes: number;
  readAt: number;
  /** Bytes reserved by changes in progress here. */
  reserved: number;
  /** Incremented when a change begins or ends here. */
  changes: number;
  reading: Promise<void> | null;
}

/** Reserves the cost of changes before they are stored. */
export class RowQuota {
  readonly #known = new Map<string, Known>();

  constructor(
    private readonly store: RoomStore,
    private readonly bytesMax: number,
  ) {}

  /** Runs `commit` with its cost reserved. Errors: quota, naming the setting; those of `commit`. */
  async during<T>(charges: Charges, limit: RowLimit, commit: () => Promise<T>): Promise<T> {
    await Promise.all([...charges.keys()].map((payer) => this.#refresh(payer)));
    // No await between here and the reservation.
    const payers = [...charges].map(([payer, bytes]) => ({ known: this.#of(payer), bytes }));
    if (payers.some(({ known, bytes }) => !this.#hasRoom(known, bytes, limit))) throw this.#over();
    for (const { known, bytes } of payers) {
      known.reserved += bytes;
      known.changes += 1;
    }
    let isDone = false;
    try {
      const result = await commit();
      isDone = true;
      return result;
    } finally {
      for (const { known, bytes } of payers) {
        known.reserved -= bytes;
        known.changes += 1;
        if (isDone) known.bytes += bytes;
        // It may have been stored nevertheless, so read the sum again.
        else known.readAt = Number.NEGATIVE_INFINITY;
      }
    }
  }

  /** Whether a change fits the quota without an overdraft. Errors: unavailable. */
  async fits(charges: Charges): Promise<boolean> {
    await Promise.all([...charges.keys()].map((payer) => this.#refresh(payer)));
    return [...charges].every(([payer, bytes]) => this.#hasRoom(this.#of(payer), bytes, "grows"));
  }

  /** Checks that a change fits the quota without an overdraft. Errors: quota, unavailable. */
  async check(charges: Charges): Promise<void> {
    if (!(await this.fits(charges))) throw this.#over();
  }

  /** Expires all cached sums, because rows were removed. */
  forget(): void {
    for (const known of this.#known.values()) known.readAt = Number.NEGATIVE_INFINITY;
  }

  #hasRoom({ bytes, reserved }: Known, more: number, limit: RowLimit): boolean {
    return bytes + reserved + more <= this.bytesMax + (limit === "removes" ? overdraftBytes : 0);
  }

  #over(): UnibusError {
    const quota = `rooms.rows_per_owner (${this.bytesMax} bytes of statements, members and sealed keys)`;
    return new UnibusError("quota", `the signer would exceed ${quota} (delete a room, or ask an admin for more)`);
  }

  /** Reads an expired sum again, once for all concurrent callers. */
  async #refresh(payer: string): Promise<void> {
    const known = this.#of(payer);
    if (performance.now() - known.readAt < ageMsMax) return;
    known.reading ??= this.#read(payer, known).finally(() => {
      known.reading = null;
    });
    await known.reading;
  }

  async #read(payer: string, known: Known): Promise<void> {
    const [at, changes] = [performance.now(), known.changes];
    const bytes = await this.store.rowBytesOf(payer);
    // The sum may or may not include changes in progress. Count them twice rather than not at all.
    const isCertain = known.changes === changes && known.reserved === 0;
    known.bytes = isCertain ? bytes : Math.max(known.bytes, bytes);
    known.readAt = isCertain ? at : Number.NEGATIVE_INFINITY;
  }

  #of(payer: string): Known {
    const known = this.#known.get(payer);
    if (known !== undefined) return known;
    if (this.#known.size >= payersMax) {
      for (const [name, { reserved, reading }] of this.#known)
        if (reserved === 0 && reading === null) this.#known.delete(name);
    }
    const fresh = { bytes: 0, readAt: Number.NEGATIVE_INFINITY, reserved: 0, changes: 0, reading: null };
    this.#known.set(payer, fresh);
    return fresh;
  }
}
