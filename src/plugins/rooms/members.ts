import type { Caller } from "../../contracts/auth.ts";
import { isIn } from "../../contracts/stay-rules.ts";
import type {
  Membership,
  RoomRecord,
  RoomStore,
  SealedKeyRecord,
  StayRecord,
  UserRecord,
  UserStore,
} from "../../contracts/store.ts";
import { unacceptedLimits } from "../../contracts/unaccepted.ts";
import { membersMax, type Statement } from "../../wire/api.ts";
import { UnibusError } from "../../wire/errors.ts";
import { endpointId, normalKey } from "../../wire/names.ts";
import { nextState, type ParsedStatement } from "../../wire/statement.ts";
import { checkSealedKey } from "./create.ts";
import type { Newcomers } from "./newcomers.ts";
import type { RoomQuotas } from "./quotas.ts";
import { applyChange, checkText, checkTurn, nextRoom, readStatement, stateOf, whileUnchanged } from "./statements.ts";
import { usersAt } from "./users-at.ts";

/** The body of POST /rooms/{id}/members. */
export interface AddMembersBody {
  readonly members: readonly { readonly endpoint: string; readonly sealed_key?: string }[];
  readonly statement: Statement;
}

/** The dependencies of adding members. */
export interface AddMembersDeps {
  readonly store: RoomStore;
  readonly users: UserStore;
  readonly quotas: RoomQuotas;
  readonly newcomers: Newcomers;
}

const notOwner = () => new UnibusError("forbidden", "only an owner of the room may do this (ask one)");

/** Checks that the caller owns the room. Errors: forbidden. */
export function checkOwner({ stay }: Membership): void {
  if (stay.role !== "owner") throw notOwner();
}

/** Checks that a peer still is in the room and owns it. Errors: forbidden. */
export function checkOwnerIn(stays: readonly StayRecord[], endpoint: string): void {
  const own = stays.find((stay) => isIn(stay) && stay.endpoint === endpoint);
  if (own?.role !== "owner") throw notOwner();
}

const stayOf = (user: UserRecord & { kexPub: string; kexSig: string }, since: number, addedBy: string): StayRecord => ({
  endpoint: user.endpoint,
  sign_pub: user.signPub,
  kex_pub: user.kexPub,
  role: "member",
  since,
  until: 0,
  kex_sig: user.kexSig,
  handle: user.handle,
  leftAt: null,
  devices: [],
  acceptedAt: null,
  addedBy,
});

/** Checks the user to add. Errors: not_found if not an active user; conflict without a kex key. */
function candidate(user: UserRecord | null, endpoint: string): UserRecord & { kexPub: string; kexSig: string } {
  if (user?.status !== "active") {
    throw new UnibusError("not_found", `${endpoint} is not an active user (see /directory)`);
  }
  const { kexPub, kexSig } = user;
  if (kexPub === null || kexSig === null) {
    throw new UnibusError("conflict", `${endpoint} has no kex_pub yet (ask them to PUT /users/me/keys first)`);
  }
  return { ...user, kexPub, kexSig };
}

/**
 * Adds members under one statement and returns their endpoints.
 * Errors: forbidden, not_found, conflict, invalid, quota as in POST /rooms/{id}/members.
 */
export async function addMembers(
  membership: Membership,
  body: AddMembersBody,
  parts: AddMembersDeps,
): Promise<string[]> {
  checkOwner(membership);
  const parsed = readStatement(body.statement);
  return whileUnchanged(parts.store, membership.room, (room, stays) => {
    checkOwnerIn(stays, membership.stay.endpoint);
    return add({ room, stays, parsed }, body, parts);
  });
}

async function add(
  { room, stays, parsed }: { room: RoomRecord; stays: readonly StayRecord[]; parsed: ParsedStatement },
  body: AddMembersBody,
  { store, users, quotas, newcomers }: AddMembersDeps,
): Promise<string[]> {
  checkTurn(body.statement, parsed, room, stays);
  const open = new Set(stays.filter(({ until }) => until === 0).map(({ endpoint }) => endpoint));
  const found = await usersAt(
    users,
    body.members.map(({ endpoint }) => endpoint),
  );
  // The signer of the statement is responsible for the addition, not the caller.
  const addedBy = endpointId(normalKey(body.statement.by));
  const added: StayRecord[] = [];
  const keys: SealedKeyRecord[] = [];
  for (const { endpoint, sealed_key } of body.members) {
    if (open.has(endpoint))
      throw new UnibusError("conflict", `${endpoint} is already a member of this room (leave it out)`);
    open.add(endpoint);
    added.push(stayOf(candidate(found.get(endpoint) ?? null, endpoint), room.epoch, addedBy));
    checkSealedKey(room.policy.encrypt, sealed_key);
    if (sealed_key !== undefined) {
      keys.push({ endpoint, epoch: room.epoch, sealedKey: sealed_key, chargedTo: addedBy });
    }
  }
  if (open.size > membersMax) {
    throw new UnibusError("quota", `a room has at most ${membersMax} members (create another one)`);
  }
  const state = nextState(stateOf(room, stays, ""), { kind: "add", members: added });
  const statement = await checkText(body.statement, { ...state, prev: room.statementHash });
  const change = {
    room: nextRoom(room, state, statement),
    stays: added,
    keys,
    statement,
    unaccepted: unacceptedLimits,
  };
  await quotas.change(room, change, "grows", () => applyChange(store, change));
  await newcomers.check(room.roomId, added);
  return added.map(({ endpoint }) => endpoint);
}

/** Checks that the caller may delete the room: an owner or an admin. Errors: forbidden. */
export function checkMayDelete(stay: StayRecord | null, caller: Caller): void {
  const owns = stay !== null && stay.leftAt === null && stay.role === "owner";
  if (!owns && caller.role !== "admin") {
    throw new UnibusError("forbidden", "only an owner of the room or an admin may delete it (ask one)");
  }
}
