import type { Static } from "@sinclair/typebox";
import type { Member } from "../wire/api.ts";
import { endpointPattern } from "../wire/names.ts";
import { type MemberLine, ownersOf, type RoomState } from "../wire/statement.ts";

/** One stay of one member. Only the line is signed: `left` and `handle` are the bus's word. */
export interface VerifiedMember extends MemberLine {
  /** Vouches for `kex_pub`; checked. */
  readonly kex_sig: string;
  /** Whether they left, or lost their access, and are not signed out yet. */
  readonly left: boolean;
  readonly handle: string;
}

/** A room as its owners signed it, at one version. It never changes: a later version is another one. */
export interface VerifiedRoom {
  readonly state: RoomState;
  /** Hex sha256 of the statement. */
  readonly hash: string;
  /** The keys of the owners now, ascending. */
  readonly owners: readonly string[];
  /** The owners whom this client saw first. */
  readonly firstOwners: readonly string[];
  /** Whether others own the room than at first: the application shows it. */
  readonly ownersChanged: boolean;
  /** Every stay of each member, by endpoint, the oldest first. */
  readonly members: ReadonlyMap<string, readonly VerifiedMember[]>;
  /** The stays that are open. */
  readonly present: readonly VerifiedMember[];
  /** The endpoints that left, by the bus's word, and that no owner has signed out yet. */
  readonly leavers: ReadonlySet<string>;
}

/** The stay in which a peer was a member at an epoch, or null. */
export function memberAt(room: VerifiedRoom, endpoint: string, epoch: number): VerifiedMember | null {
  const isAt = ({ since, until }: VerifiedMember) => since <= epoch && (until === 0 || epoch < until);
  return room.members.get(endpoint)?.find(isAt) ?? null;
}

/** The open stay of a peer, or null. */
export function memberNow(room: VerifiedRoom, endpoint: string): VerifiedMember | null {
  return room.members.get(endpoint)?.find(({ until }) => until === 0) ?? null;
}

const endpointShape = new RegExp(endpointPattern);
const keyShape = /^[0-9a-f]{64}$/;
const isEpoch = (value: number) => Number.isSafeInteger(value) && value >= 1;

/**
 * Whether a member can be written as one line and read back from it: else two lists could have one text, and what an
 * owner signed would mean something else.
 */
export function isOneLine({ endpoint, sign_pub, kex_pub, since, until }: Static<typeof Member>): boolean {
  const areKeys = keyShape.test(sign_pub) && keyShape.test(kex_pub);
  return (
    endpointShape.test(endpoint) && areKeys && isEpoch(since) && (until === 0 || (isEpoch(until) && until > since))
  );
}

/** A room out of a statement's state, whose lines are the members. */
export function verifiedRoom(
  state: Omit<RoomState, "lines"> & { readonly lines: readonly VerifiedMember[] },
  hash: string,
  firstOwners: readonly string[],
): VerifiedRoom {
  const owners = ownersOf(state.lines);
  const members = new Map<string, VerifiedMember[]>();
  for (const member of state.lines) {
    const stays = members.get(member.endpoint);
    if (stays === undefined) members.set(member.endpoint, [member]);
    else stays.push(member);
  }
  for (const stays of members.values()) stays.sort((a, b) => a.since - b.since);
  const present = state.lines.filter(({ until }) => until === 0);
  const ownersChanged = owners.join() !== firstOwners.join();
  const leavers = new Set(present.filter(({ left }) => left).map(({ endpoint }) => endpoint));
  return { state, hash, owners, firstOwners, ownersChanged, members, present, leavers };
}
