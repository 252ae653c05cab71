/**
 * The quota of control-plane rows: `rooms.rows_per_owner` bytes for the signer of each statement. What a change costs
 * is reserved before it is stored, and counts from then on, so that changes that come at once cannot pass the quota
 * together. The sum itself is the store's; a node looks at it again when what it knows is 2 s old, so that nodes of a
 * cluster may pass the quota by what the others admit within that time. Source: spec 9.
 */
import type { Charges } from "../../contracts/rows.ts";
import type { RoomStore } from "../../contracts/store.ts";
import { UnibusError } from "../../wire/errors.ts";

/** How far removals may overdraw the quota, in bytes. Source: spec 9. */
export const overdraftBytes = 67_108_864;
/** How old what is known of a payer may be, in milliseconds. */
const ageMsMax = 2_000;
/** Payers that are remembered while none of their changes is under way. */
const payersMax = 10_000;

/** What of the quota a change may use: removals overdraw it. */
export type RowLimit = "grows" | "removes";

interface Known {
  /** What the store said, and what was committed here since. */
  bytes: number;
  readAt: number;
  /** What is under way here. */
  reserved: number;
  /** Grows with each change that begins or ends here. */
  changes: number;
  reading: Promise<void> | null;
}

/** Charges of changes, reserved before they are stored. */
export class RowQuota {
  readonly #known = new Map<string, Known>();

  constructor(
    private readonly store: RoomStore,
    private readonly bytesMax: number,
  ) {}

  /**
   * Runs `commit` with what it will cost reserved. Errors: quota, naming the setting; those of `commit`.
   */
  async during<T>(charges: Charges, limit: RowLimit, commit: () => Promise<T>): Promise<T> {
    await Promise.all([...charges.keys()].map((payer) => this.#refresh(payer)));
    // From here to the reservation nothing is awaited.
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
        // It may have been stored all the same.
        else known.readAt = Number.NEGATIVE_INFINITY;
      }
    }
  }

  /** Whether a change would be within the quota, without its overdraft. Errors: unavailable. */
  async fits(charges: Charges): Promise<boolean> {
    await Promise.all([...charges.keys()].map((payer) => this.#refresh(payer)));
    return [...charges].every(([payer, bytes]) => this.#hasRoom(this.#of(payer), bytes, "grows"));
  }

  /** Looks at the store again before the next change of anybody: rows were removed. */
  forget(): void {
    for (const known of this.#known.values()) known.readAt = Number.NEGATIVE_INFINITY;
  }

  #hasRoom({ bytes, reserved }: Known, more: number, limit: RowLimit): boolean {
    return bytes + reserved + more <= this.bytesMax + (limit === "removes" ? overdraftBytes : 0);
  }

  #over(): UnibusError {
    const quota = `rooms.rows_per_owner (${this.bytesMax} bytes of statements, members and sealed keys)`;
    return new UnibusError("quota", `the signer is over ${quota} (delete a room, or ask an admin for more)`);
  }

  /** Reads a sum again that is old, once for all who wait for it. */
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
    // What was under way may be in the sum already, or not: it counts twice rather than not at all.
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
