import type { Static } from "@sinclair/typebox";
import type { Member } from "../../wire/api.ts";
import { endpointPattern } from "../../wire/names.ts";
import { type MemberLine, ownersOf, type RoomState } from "../../wire/statement.ts";

/** One membership period of one member. Only the line is signed; `left` and `handle` are stated by the server. */
export interface VerifiedMember extends MemberLine {
  /** The user's signature of `kex_pub`; verified. */
  readonly kex_sig: string;
  /** Whether the member left or lost access, and no owner has signed the removal yet. */
  readonly left: boolean;
  readonly handle: string;
}

/** A room as its owners signed it, at one version. Immutable: a later version is another object. */
export interface VerifiedRoom {
  readonly state: RoomState;
  /** Hex sha256 of the statement. */
  readonly hash: string;
  /** The keys of the current owners, ascending. */
  readonly owners: readonly string[];
  /** The owners that this client first saw. */
  readonly firstOwners: readonly string[];
  /** Whether the owners differ from the first ones; the application should show it. */
  readonly ownersChanged: boolean;
  /** Every membership period of each member, by endpoint, oldest first. */
  readonly members: ReadonlyMap<string, readonly VerifiedMember[]>;
  /** The open membership periods. */
  readonly present: readonly VerifiedMember[];
  /** The endpoints that left according to the server, and whose removal no owner has signed yet. */
  readonly leavers: ReadonlySet<string>;
}

/** The membership period of a peer that includes an epoch, or null. */
export function memberAt(room: VerifiedRoom, endpoint: string, epoch: number): VerifiedMember | null {
  const isAt = ({ since, until }: VerifiedMember) => since <= epoch && (until === 0 || epoch < until);
  return room.members.get(endpoint)?.find(isAt) ?? null;
}

/** The open membership period of a peer, or null. */
export function memberNow(room: VerifiedRoom, endpoint: string): VerifiedMember | null {
  return room.members.get(endpoint)?.find(({ until }) => until === 0) ?? null;
}

const endpointShape = new RegExp(endpointPattern);
const keyShape = /^[0-9a-f]{64}$/;
const isEpoch = (value: number) => Number.isSafeInteger(value) && value >= 1;

/**
 * Whether a member can be written as one line and read back unchanged. Otherwise two lists could have the same text,
 * and an owner's signature would cover both.
 */
export function isOneLine({ endpoint, sign_pub, kex_pub, since, until }: Static<typeof Member>): boolean {
  const areKeys = keyShape.test(sign_pub) && keyShape.test(kex_pub);
  return (
    endpointShape.test(endpoint) && areKeys && isEpoch(since) && (until === 0 || (isEpoch(until) && until > since))
  );
}

/** Builds a room from a statement's state, whose lines are the members. */
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
