import type { Charges } from "../../../contracts/rows.ts";
import type { UserStore } from "../../../contracts/store.ts";
import type { RowQuota } from "../row-quota.ts";
import { usersAt } from "../users-at.ts";

/**
 * Charges the rows of restorations. The signer of a statement pays for it, but the signers of a restored chain need not
 * be users of this bus: they may have been deleted, or be keys that the caller made up to avoid the charge. So the rows
 * of such signers count against the caller. The store records them for the signers, and this class records the sum for
 * each caller since the server started; one restoration runs at a time.
 */
export class BorneRows {
  readonly #bytes = new Map<string, number>();

  constructor(
    private readonly users: UserStore,
    private readonly rows: RowQuota,
  ) {}

  /** Whether an endpoint pays for what it signed: an active user. */
  async pays(endpoint: string): Promise<boolean> {
    return (await this.users.getUserByEndpoint(endpoint))?.status === "active";
  }

  /** Stores a restoration with its cost reserved. Errors: quota; those of `store`. */
  async during<T>(charges: Charges, caller: string, store: () => Promise<T>): Promise<T> {
    const users = await usersAt(this.users, [...charges.keys()]);
    const paid = new Map<string, number>();
    let borne = 0;
    for (const [payer, bytes] of charges) {
      if (users.get(payer)?.status === "active") paid.set(payer, bytes);
      else borne += bytes;
    }
    const before = this.#bytes.get(caller) ?? 0;
    const mine = (paid.get(caller) ?? 0) + borne;
    await this.rows.check(new Map([[caller, mine + before]]));
    const done = await this.rows.during(new Map(paid).set(caller, mine), "grows", store);
    this.#bytes.set(caller, before + borne);
    // The cached sum now contains what the caller bore, and the store's does not: count it once.
    this.rows.forget();
    return done;
  }
}
