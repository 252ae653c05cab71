/**
 * The member lines of a restoration, checked against its newest statement, the bus's own stays and its users.
 * A member line describes one stay: a period of membership from epoch `since` until epoch `until` (0: still open).
 * `checkLines` compares the lines with the hash and the owners that the statement signed, `checkHistory` keeps them
 * from rewriting what the bus already knows, and `staysOf` turns them into rows. restoring.ts uses this.
 */

import type { Caller } from "../../../contracts/auth.ts";
import { checkKexKey, checkSignKey } from "../../../contracts/signature.ts";
import type { StayRecord, UserRecord, UserStore } from "../../../contracts/store.ts";
import type { DeniedStay } from "../../../contracts/way-back.ts";
import type { TimeSlices } from "../../../lib/time-slices.ts";
import { membersMax, type Restore } from "../../../wire/api.ts";
import { isUnibusError, UnibusError } from "../../../wire/errors.ts";
import { checkHandle } from "../../../wire/handles.ts";
import { endpointId } from "../../../wire/names.ts";
import { type ParsedStatement, statementText } from "../../../wire/statement.ts";
import { usersAt } from "../users-at.ts";
import { wrongLine } from "./chain.ts";

type Line = Restore["members"][number];

/** How many users are read between two checks of the time slice. */
const lookUpsAtOnce = 64;

const invalid = (line: Line, what: string) =>
  new UnibusError(
    "invalid",
    `the line of ${line.endpoint} since epoch ${line.since}: ${what} (send the lines as signed)`,
  );

/** The key of a stay in maps. */
export function stayName({ endpoint, since }: Pick<StayRecord, "endpoint" | "since">): string {
  return `${endpoint} ${since}`;
}

/** Checks the lines for consistency and against the statement. Errors: invalid; quota for too many members. */
export async function checkLines(head: ParsedStatement, lines: readonly Line[], slices: TimeSlices): Promise<void> {
  const { epoch, version } = head;
  const open = new Set<string>();
  const lastUntil = new Map<string, number>();
  for (const line of [...lines].sort((a, b) => a.since - b.since)) {
    const { endpoint, since, until } = line;
    if (endpointId(line.sign_pub) !== endpoint) throw invalid(line, "its sign_pub belongs to another endpoint");
    if (since > epoch || until > epoch || (until !== 0 && until <= since))
      throw invalid(line, "its epochs are invalid");
    if (open.has(endpoint) || since < (lastUntil.get(endpoint) ?? 0)) throw invalid(line, "it overlaps another line");
    if (until === 0) open.add(endpoint);
    lastUntil.set(endpoint, until);
    if (slices.isOver) await slices.rest();
  }
  if (open.size > membersMax) {
    throw new UnibusError("quota", `a room has at most ${membersMax} members (create another one)`);
  }
  const { roomId, prev, subject, policy, keyCheck } = head;
  const text = statementText({ roomId, version, prev, subject, policy, epoch, keyCheck, lines });
  const [owners, members] = text.split("\n").slice(8);
  if (owners !== head.owners.join(",")) throw wrongLine(version, 8, "it does not match the member lines");
  if (members !== head.membersHash) throw wrongLine(version, 9, "it does not match the member lines");
}

/**
 * Checks that the lines do not contradict the bus's own stays up to the chain's base: no stay is missing, has other
 * keys, or is open again after it ended. Errors: invalid.
 */
export function checkHistory(own: readonly StayRecord[], lines: readonly Line[], baseEpoch: number): void {
  const offered = new Map(lines.map((line) => [stayName(line), line]));
  for (const stay of own) {
    const line = offered.get(stayName(stay));
    if (line === undefined) {
      throw new UnibusError(
        "invalid",
        `the line of ${stay.endpoint} since epoch ${stay.since} is missing (send all lines)`,
      );
    }
    if (line.kex_pub !== stay.kex_pub) throw invalid(line, "its kex_pub differs from the bus's");
    if (stay.until !== 0 && (line.until !== stay.until || line.role !== stay.role)) {
      throw invalid(line, "on the bus it has ended already, and differs");
    }
    if (stay.until === 0 && line.until !== 0 && line.until <= baseEpoch) {
      throw invalid(line, `on the bus it was still open in epoch ${baseEpoch}`);
    }
  }
  const known = new Set(own.map(stayName));
  for (const line of lines) {
    if (!known.has(stayName(line)) && line.since < baseEpoch)
      throw invalid(line, "it starts before the bus's own epoch");
  }
}

/** The inputs for storing a line. */
export interface LineContext {
  readonly users: UserStore;
  readonly own: readonly StayRecord[];
  readonly denied: readonly DeniedStay[];
  readonly caller: Caller;
  readonly now: number;
  readonly slices: TimeSlices;
}

/** Returns a handle from a line that no user of this bus confirms, or an empty string if it is not a valid handle. */
function givenHandle(handle: string): string {
  try {
    return checkHandle(handle);
  } catch (error) {
    if (isUnibusError(error)) return "";
    throw error;
  }
}

/** Returns a valid kex_sig for a line's key: the user's own, or else the line's own. Errors: invalid. */
async function kexSigOf(line: Line, user: UserRecord | null): Promise<string> {
  if (user?.kexPub === line.kex_pub && user.kexSig !== null) return user.kexSig;
  if (user !== null && user.kexPub !== null && line.until === 0) {
    throw invalid(line, "its kex_pub differs from that of the user on the bus");
  }
  try {
    checkSignKey(line.sign_pub);
    return (await checkKexKey(line.sign_pub, line.kex_pub, line.kex_sig)).kexSig;
  } catch (error) {
    if (isUnibusError(error)) throw invalid(line, error.message);
    throw error;
  }
}

/**
 * Builds the stays from the lines. Keys must be those of the bus's own users. A member who is not an active user here,
 * or who had left before, becomes `left`. A stay that the restoration adds is not accepted.
 * Errors: invalid for keys that differ from the users' keys.
 */
export async function staysOf(lines: readonly Line[], context: LineContext): Promise<StayRecord[]> {
  const { users, own, denied, caller, now, slices } = context;
  const found = new Map<string, UserRecord | null>();
  const endpoints = [...new Set(lines.map(({ endpoint }) => endpoint))];
  while (endpoints.length > 0) {
    for (const [endpoint, user] of await usersAt(users, endpoints.splice(0, lookUpsAtOnce))) found.set(endpoint, user);
    if (slices.isOver) await slices.rest();
  }
  const known = new Map(own.map((stay) => [stayName(stay), stay]));
  const left = new Map(denied.map((stay) => [stayName(stay), stay.leftAt]));
  const stays: StayRecord[] = [];
  for (const line of lines) {
    const user = found.get(line.endpoint) ?? null;
    const before = known.get(stayName(line));
    const kex_sig = await kexSigOf(line, user);
    const isOut = line.left || user?.status !== "active";
    const { endpoint, sign_pub, kex_pub, role, since, until } = line;
    stays.push({
      ...{ endpoint, sign_pub, kex_pub, role, since, until, kex_sig },
      handle: user?.handle ?? before?.handle ?? givenHandle(line.handle),
      leftAt: before?.leftAt ?? left.get(stayName(line)) ?? (isOut && until === 0 ? now : null),
      devices: before?.devices ?? [],
      acceptedAt: before?.acceptedAt ?? null,
      addedBy: before === undefined ? caller.endpoint : before.addedBy,
    });
    if (slices.isOver) await slices.rest();
  }
  return stays;
}
