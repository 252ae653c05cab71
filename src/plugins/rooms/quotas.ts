import { type Charges, chargesOf } from "../../contracts/rows.ts";
import type { NewRoom, RoomChange, RoomRecord, RoomStore } from "../../contracts/store.ts";
import { Pace } from "./pace.ts";
import { type RowLimit, RowQuota } from "./row-quota.ts";

/** Maximum number of steps in which keys of former members are dropped for one change. */
const dropStepsMax = 1_000;

/** The rows that a change adds. Of its stays, only the new ones. */
export type AddedRows = Pick<RoomChange, "stays" | "keys" | "statement">;

/** The settings of the quotas. */
export interface QuotaSettings {
  /** Bytes of rows that one signer may have. */
  readonly rowsPerOwner: number;
  /** 0 means no limit. */
  readonly statementsPerMinute: number;
}

/** The quotas of signers and rooms. Every statement is stored through this class. Source: docs/protocol/limits.md. */
export class RoomQuotas {
  readonly rows: RowQuota;
  readonly #store: RoomStore;
  readonly #pace: Pace;

  constructor(store: RoomStore, { rowsPerOwner, statementsPerMinute }: QuotaSettings, now: () => number) {
    this.#store = store;
    this.rows = new RowQuota(store, rowsPerOwner);
    this.#pace = new Pace(statementsPerMinute, now);
  }

  /** Runs the creation of a room. Errors: quota; those of `commit`. */
  create<T>({ room, stay, keys, statement }: NewRoom, commit: () => Promise<T>): Promise<T> {
    const rows = { room, stays: [stay], keys, statements: [statement], creator: room.creator };
    return this.rows.during(chargesOf(rows), "grows", commit);
  }

  /**
   * Runs a change that stores the next version of a room. A removal has no rate limit and may overdraw the row quota,
   * but keys of former members are dropped before it does. Errors: quota; those of `commit`.
   */
  async change<T>(room: RoomRecord, added: AddedRows, limit: RowLimit, commit: () => Promise<T>): Promise<T> {
    const { stays, keys, statement } = added;
    const charges = chargesOf({ stays, keys, statements: [statement], creator: room.creator });
    const store = () => this.rows.during(charges, limit, commit);
    if (limit === "grows") return this.#pace.during(room.roomId, store);
    if (!(await this.rows.fits(charges))) await this.#dropKeys(room.roomId, charges);
    return store();
  }

  /** Drops keys of former members until the change fits or no such keys remain. */
  async #dropKeys(roomId: string, charges: Charges): Promise<void> {
    let after: string | null = null;
    for (let steps = 0; steps < dropStepsMax; steps++) {
      after = await this.#store.dropKeys(roomId, after);
      this.rows.forget();
      if (after === null || (await this.rows.fits(charges))) return;
    }
  }
}
