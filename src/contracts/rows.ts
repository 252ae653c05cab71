/**
 * What rows of a room cost, and who is charged: the signer of the statement that brought them. A store keeps the sum
 * for each payer; the quota over it is a rule above the store (`plugins/rooms`). Units: bytes, as an estimate of what a
 * row takes on disk that is the same on every store. Payers are endpoints. Source: spec 9.
 */
import { endpointId } from "../wire/names.ts";
import type { RoomRecord, SealedKeyRecord, StatementRecord, StayRecord } from "./store.ts";

/**
 * The cost of one row, for a statement beside its text. A room costs as long as its tombstone is kept, which is for
 * ever: deleting a room gives back everything else.
 */
export const rowBytes = { room: 512, stay: 512, key: 256, statement: 256 } as const;

/** Bytes by payer. */
export type Charges = ReadonlyMap<string, number>;

/** Rows of one room. A room is counted where it is given. */
export interface ChargedRows {
  readonly room?: Pick<RoomRecord, "creator">;
  readonly stays: readonly Pick<StayRecord, "addedBy">[];
  readonly keys: readonly Pick<SealedKeyRecord, "chargedTo">[];
  readonly statements: readonly Pick<StatementRecord, "text" | "by">[];
  /** Pays for stays of which nobody knows who added them. */
  readonly creator: string;
}

/** Who pays for a statement: its signer. */
export function payerOf({ by }: Pick<StatementRecord, "by">): string {
  return endpointId(by);
}

/** What rows cost. */
export function chargesOf({ room, stays, keys, statements, creator }: ChargedRows): Map<string, number> {
  const charges = new Map<string, number>();
  const charge = (payer: string, bytes: number) => charges.set(payer, (charges.get(payer) ?? 0) + bytes);
  if (room !== undefined) charge(room.creator, rowBytes.room);
  for (const { addedBy } of stays) charge(addedBy ?? creator, rowBytes.stay);
  for (const { chargedTo } of keys) charge(chargedTo, rowBytes.key);
  for (const statement of statements) charge(payerOf(statement), rowBytes.statement + statement.text.length);
  return charges;
}

/** One sum more. Payers whose sum is 0 or less are left out. */
export function addedCharges(charges: Charges, more: Charges, sign: 1 | -1 = 1): Map<string, number> {
  const sum = new Map(charges);
  for (const [payer, bytes] of more) {
    const left = (sum.get(payer) ?? 0) + sign * bytes;
    if (left > 0) sum.set(payer, left);
    else sum.delete(payer);
  }
  return sum;
}
