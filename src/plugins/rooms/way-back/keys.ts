/** The sealed keys of a restoration: exactly those that the bus lacks and that the caller can have. */

import type { SealedKeyRecord, StayRecord } from "../../../contracts/store.ts";
import type { TimeSlices } from "../../../lib/time-slices.ts";
import type { Restore } from "../../../wire/api.ts";
import { UnibusError } from "../../../wire/errors.ts";
import { stayName } from "./lines.ts";

/** The inputs that determine the required keys. */
export interface KeyContext {
  /** The member lines of the restored version. */
  readonly lines: Restore["members"];
  /** The epoch of that version. */
  readonly epoch: number;
  /** The epoch up to which the bus has keys. */
  readonly baseEpoch: number;
  readonly own: readonly StayRecord[];
  /** The caller's endpoint. The caller has the keys of the epochs of its own memberships. */
  readonly caller: string;
  readonly slices: TimeSlices;
}

type Span = Pick<Restore["members"][number], "endpoint" | "since" | "until">;

const lastOf = ({ until }: Span, epoch: number): number => (until === 0 ? epoch : until - 1);
const nameOf = (endpoint: string, epoch: number): string => `${endpoint} ${epoch}`;

/** Yields the epochs of a line whose keys the bus lacks and the caller has. */
function* wantedOf(line: Span, isKnown: boolean, context: KeyContext, mine: readonly Span[]): Generator<number> {
  const { epoch, baseEpoch } = context;
  const from = isKnown ? Math.max(line.since, baseEpoch + 1) : line.since;
  for (let at = from; at <= lastOf(line, epoch); at++) {
    if (mine.some((own) => own.since <= at && at <= lastOf(own, epoch))) yield at;
  }
}

function wrongSet(what: string, { own, baseEpoch }: KeyContext): UnibusError {
  const message = `keys: ${what} (seal exactly the keys that the bus lacks)`;
  const details = { epoch: baseEpoch, lines: own.map(({ endpoint, since }) => [endpoint, since]) };
  return new UnibusError("invalid", message, { details });
}

/**
 * Checks and returns the keys of a restoration. Errors: invalid for any other set of keys. The details contain what the
 * bus has, because a caller whom the older version does not know cannot read that.
 */
export async function exactKeys(keys: Restore["keys"], context: KeyContext): Promise<SealedKeyRecord[]> {
  const { lines, caller, own, slices } = context;
  const given = new Map<string, string>();
  for (const { endpoint, epoch, sealed_key } of keys) {
    const name = nameOf(endpoint, epoch);
    if (given.has(name)) throw wrongSet(`the key of ${endpoint} for epoch ${epoch} is listed twice`, context);
    given.set(name, sealed_key);
    if (slices.isOver) await slices.rest();
  }
  const known = new Set(own.map(stayName));
  const mine = lines.filter(({ endpoint }) => endpoint === caller);
  const found: SealedKeyRecord[] = [];
  for (const line of lines) {
    const { endpoint } = line;
    for (const epoch of wantedOf(line, known.has(stayName(line)), context, mine)) {
      const name = nameOf(endpoint, epoch);
      const sealedKey = given.get(name);
      if (sealedKey === undefined) throw wrongSet(`the key of ${endpoint} for epoch ${epoch} is missing`, context);
      given.delete(name);
      found.push({ endpoint, epoch, sealedKey, chargedTo: caller });
      if (slices.isOver) await slices.rest();
    }
  }
  const [extra] = given.keys();
  if (extra !== undefined) throw wrongSet(`the key of ${extra.replace(" ", " for epoch ")} is not expected`, context);
  return found;
}

/** Checks keys that the bus may lack: each must belong to an epoch of its member's membership. Errors: invalid. */
export async function possibleKeys(
  keys: Restore["keys"],
  { own, epoch: currentEpoch, caller, slices }: Pick<KeyContext, "own" | "epoch" | "caller" | "slices">,
): Promise<SealedKeyRecord[]> {
  const spans = Map.groupBy(own, ({ endpoint }) => endpoint);
  const found: SealedKeyRecord[] = [];
  for (const { endpoint, epoch, sealed_key } of keys) {
    const isMember = spans.get(endpoint)?.some((stay) => stay.since <= epoch && epoch <= lastOf(stay, currentEpoch));
    if (isMember !== true) {
      throw new UnibusError("invalid", `keys: ${endpoint} was not a member in epoch ${epoch} (leave that key out)`);
    }
    found.push({ endpoint, epoch, sealedKey: sealed_key, chargedTo: caller });
    if (slices.isOver) await slices.rest();
  }
  return found;
}
