import type { Caller } from "../../contracts/auth.ts";
import type {
  Membership,
  RoomStore,
  SealedKeyRecord,
  StayRecord,
  UserRecord,
  UserStore,
} from "../../contracts/store.ts";
import { membersMax, type Statement } from "../../wire/api.ts";
import { sha256Hex } from "../../wire/encoding.ts";
import { UnibusError } from "../../wire/errors.ts";
import { nextState } from "../../wire/statement.ts";
import { checkSealedKey } from "./create.ts";
import { checkText, checkTurn, readStatement, stateOf } from "./statements.ts";

/** What the body of POST /rooms/{id}/members says. */
export interface AddMembersBody {
  readonly members: readonly { readonly endpoint: string; readonly sealed_key?: string }[];
  readonly statement: Statement;
}

/** Errors: forbidden unless the caller owns the room. */
export function checkOwner({ stay }: Membership): void {
  if (stay.role !== "owner") throw new UnibusError("forbidden", "only an owner of the room may do this (ask one)");
}

const stayOf = (user: UserRecord & { kexPub: string; kexSig: string }, since: number): StayRecord => ({
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
});

/** The user who is to be added. Errors: not_found for no active user; conflict for one without a kex key. */
async function candidate(users: UserStore, endpoint: string): Promise<UserRecord & { kexPub: string; kexSig: string }> {
  const user = await users.getUserByEndpoint(endpoint);
  if (user?.status !== "active") {
    throw new UnibusError("not_found", `${endpoint} is no active user here (see /directory)`);
  }
  const { kexPub, kexSig } = user;
  if (kexPub === null || kexSig === null) {
    throw new UnibusError("conflict", `${endpoint} has no kex_pub yet (they PUT /users/me/keys first)`);
  }
  return { ...user, kexPub, kexSig };
}

/**
 * Adds members under one statement. Gives their endpoints.
 * Errors: forbidden, not_found, conflict, invalid, quota as of POST /rooms/{id}/members.
 */
export async function addMembers(
  membership: Membership,
  body: AddMembersBody,
  { store, users }: { readonly store: RoomStore; readonly users: UserStore },
): Promise<string[]> {
  checkOwner(membership);
  const { room } = membership;
  const parsed = readStatement(body.statement);
  const stays = await store.listStays(room.roomId);
  checkTurn(body.statement, parsed, room, stays);
  const open = new Set(stays.filter(({ until }) => until === 0).map(({ endpoint }) => endpoint));
  const added: StayRecord[] = [];
  const keys: SealedKeyRecord[] = [];
  for (const { endpoint, sealed_key } of body.members) {
    if (open.has(endpoint)) throw new UnibusError("conflict", `${endpoint} is in the room already (leave it out)`);
    open.add(endpoint);
    added.push(stayOf(await candidate(users, endpoint), room.epoch));
    checkSealedKey(room.policy.encrypt, sealed_key);
    if (sealed_key !== undefined) keys.push({ endpoint, epoch: room.epoch, sealedKey: sealed_key });
  }
  if (open.size > membersMax) {
    throw new UnibusError("quota", `a room has at most ${membersMax} members (open another one)`);
  }
  const state = nextState(stateOf(room, stays, ""), { kind: "add", members: added });
  const statement = await checkText(body.statement, { ...state, prev: room.statementHash });
  const changed = { ...room, version: state.version, statementHash: sha256Hex(statement.text) };
  if (!(await store.applyChange({ room: changed, stays: added, keys, statement }))) {
    throw new UnibusError(
      "conflict",
      "another change of the room came first (read it again and sign the next version)",
    );
  }
  return added.map(({ endpoint }) => endpoint);
}

/** The rooms' rule of who may delete: an owner, or an admin. Errors: forbidden. */
export function checkMayDelete(stay: StayRecord | null, caller: Caller): void {
  const owns = stay !== null && stay.leftAt === null && stay.role === "owner";
  if (!owns && caller.role !== "admin") {
    throw new UnibusError("forbidden", "only an owner of the room or an admin may delete it (ask one)");
  }
}
