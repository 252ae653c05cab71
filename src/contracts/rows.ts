/**
 * The storage charge for a room's rows, and who pays it: the signer of the statement that added them. A store keeps the
 * sum per payer; the quota on it is enforced above the store (`plugins/rooms`). Units: bytes, as an estimate of a row's
 * disk usage that is the same on every store. Payers are endpoints. Source: docs/protocol/limits.md.
 */
import { endpointId } from "../wire/names.ts";
import type { RoomRecord, SealedKeyRecord, StatementRecord, StayRecord } from "./store.ts";

/**
 * The charge for one row; a statement also costs the length of its text. A room's own row is charged for as long as its
 * tombstone is kept, which is forever. Deleting a room refunds everything else.
 */
export const rowBytes = { room: 512, stay: 512, key: 256, statement: 256 } as const;

/** Bytes by payer. */
export type Charges = ReadonlyMap<string, number>;

/** Some rows of one room. The room's own row is charged if `room` is given. */
export interface ChargedRows {
  readonly room?: Pick<RoomRecord, "creator">;
  readonly stays: readonly Pick<StayRecord, "addedBy">[];
  readonly keys: readonly Pick<SealedKeyRecord, "chargedTo">[];
  readonly statements: readonly Pick<StatementRecord, "text" | "by">[];
  /** The payer for stays whose adder was not recorded. */
  readonly creator: string;
}

/** The payer of a statement: its signer. */
export function payerOf({ by }: Pick<StatementRecord, "by">): string {
  return endpointId(by);
}

/** Computes the charges for some rows, by payer. */
export function chargesOf({ room, stays, keys, statements, creator }: ChargedRows): Map<string, number> {
  const charges = new Map<string, number>();
  const charge = (payer: string, bytes: number) => charges.set(payer, (charges.get(payer) ?? 0) + bytes);
  if (room !== undefined) charge(room.creator, rowBytes.room);
  for (const { addedBy } of stays) charge(addedBy ?? creator, rowBytes.stay);
  for (const { chargedTo } of keys) charge(chargedTo, rowBytes.key);
  for (const statement of statements) charge(payerOf(statement), rowBytes.statement + statement.text.length);
  return charges;
}

/** Adds (or, with `sign` -1, subtracts) charges. Payers whose sum is 0 or less are left out. */
export function addedCharges(charges: Charges, more: Charges, sign: 1 | -1 = 1): Map<string, number> {
  const sum = new Map(charges);
  for (const [payer, bytes] of more) {
    const left = (sum.get(payer) ?? 0) + sign * bytes;
    if (left > 0) sum.set(payer, left);
    else sum.delete(payer);
  }
  return sum;
}
