import { type Charges, chargesOf } from "../../contracts/rows.ts";
import type { NewRoom, RoomChange, RoomRecord, RoomStore } from "../../contracts/store.ts";
import { Pace } from "./pace.ts";
import { type RowLimit, RowQuota } from "./row-quota.ts";

/** Steps in which the keys of members who are out are dropped for one change, at most. */
const dropStepsMax = 1_000;

/** The rows that a change adds: of its stays those that are new. */
export type AddedRows = Pick<RoomChange, "stays" | "keys" | "statement">;

/** The settings of the quotas. */
export interface QuotaSettings {
  /** Bytes of rows that one signer may have. */
  readonly rowsPerOwner: number;
  /** 0: no limit. */
  readonly statementsPerMinute: number;
}

/** What signers and rooms may write: every statement is stored through here. Source: spec 9. */
export class RoomQuotas {
  readonly rows: RowQuota;
  readonly #store: RoomStore;
  readonly #pace: Pace;

  constructor(store: RoomStore, { rowsPerOwner, statementsPerMinute }: QuotaSettings, now: () => number) {
    this.#store = store;
    this.rows = new RowQuota(store, rowsPerOwner);
    this.#pace = new Pace(statementsPerMinute, now);
  }

  /** Runs what creates a room. Errors: quota; those of `commit`. */
  create<T>({ room, stay, keys, statement }: NewRoom, commit: () => Promise<T>): Promise<T> {
    const rows = { room, stays: [stay], keys, statements: [statement], creator: room.creator };
    return this.rows.during(chargesOf(rows), "grows", commit);
  }

  /**
   * Runs what stores one version more of a room. One that removes a member is not paced and may overdraw the quota;
   * before it does, the keys of members who are out are dropped. Errors: quota; those of `commit`.
   */
  async change<T>(room: RoomRecord, added: AddedRows, limit: RowLimit, commit: () => Promise<T>): Promise<T> {
    const { stays, keys, statement } = added;
    const charges = chargesOf({ stays, keys, statements: [statement], creator: room.creator });
    const store = () => this.rows.during(charges, limit, commit);
    if (limit === "grows") return this.#pace.during(room.roomId, store);
    if (!(await this.rows.fits(charges))) await this.#dropKeys(room.roomId, charges);
    return store();
  }

  /** Drops keys that nobody can read any more until a change fits, or there are none. */
  async #dropKeys(roomId: string, charges: Charges): Promise<void> {
    let after: string | null = null;
    for (let steps = 0; steps < dropStepsMax; steps++) {
      after = await this.#store.dropKeys(roomId, after);
      this.rows.forget();
      if (after === null || (await this.rows.fits(charges))) return;
    }
  }
}
