/**
 * Changes of an existing room: a new epoch (rekey, kick, completing leaves), roles, and leaving.
 * Every change except a leave needs a statement: the next version, signed by an owner, whose text must equal the text
 * that the server computes. A leave ends access immediately; an owner's client completes it later with a new epoch.
 * Invariant: none of these changes takes the last owner from a room. Changes of a room are serialized in this process,
 * and a compare-and-set in the store detects changes by other nodes. membership-routes.ts serves this.
 */
import { type Denials, stayDenialKey } from "../../contracts/denials.ts";
import type { NoticeKind, Notices } from "../../contracts/notices.ts";
import type { Reserve } from "../../contracts/reserve.ts";
import { payerOf } from "../../contracts/rows.ts";
import { isIn, leavingUnlessLast } from "../../contracts/stay-rules.ts";
import type { Membership, RoomStore, SealedKeyRecord, StatementRecord, StayRecord } from "../../contracts/store.ts";
import type { RoomStreams } from "../../contracts/streams.ts";
import type { KeyedMutex } from "../../lib/keyed-mutex.ts";
import type { Statement } from "../../wire/api.ts";
import { sha256Hex } from "../../wire/encoding.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";
import { lineName, nextState, ownersMax, type RoomRole, statementLines, statementText } from "../../wire/statement.ts";
import { checkOwner } from "./members.ts";
import type { RoomQuotas } from "./quotas.ts";
import type { RowLimit } from "./row-quota.ts";
import { checkText, checkTurn, lost, readStatement, stateOf, whileUnchanged } from "./statements.ts";

/** How many of the most recent leaves a statement may have missed. Source: spec 3. */
const leaversMax = 64;

/** Approximate size of a sealed key, in bytes. */
const keyBytes = 256;

/** The body of a request for a new epoch. */
export interface RotateBody {
  readonly statement: Statement;
  readonly keys?: readonly { readonly endpoint: string; readonly sealed_key: string }[];
}

/** The body of a request for a new role. */
export interface RoleBody {
  readonly statement: Statement;
  readonly role: RoomRole;
}

/** The dependencies of `RoomMembership`. */
export interface RoomMembershipDeps {
  readonly store: RoomStore;
  readonly streams: RoomStreams | undefined;
  readonly notices: Notices;
  readonly denials: Denials | undefined;
  /** Locked by room id during a leave or an owner's change, so that two last owners cannot both go. */
  readonly places: KeyedMutex;
  readonly reserve: Reserve | undefined;
  readonly quotas: RoomQuotas;
  readonly now: () => number;
}

const isOpen = ({ until }: StayRecord): boolean => until === 0;

const notMember = (endpoint: string) => new UnibusError("not_found", `${endpoint} is not a member of this room`);

const lastOwner = () =>
  new UnibusError(
    "conflict",
    "the last owner cannot leave or be demoted (make another member an owner first, or delete the room)",
  );

/**
 * Stores a change, then runs its effect. The effect also runs if the answer was lost, because the change may be stored.
 * Effects are only hints; their receivers read the actual state.
 */
async function withEffect(change: () => Promise<unknown>, effect: () => void): Promise<void> {
  try {
    await change();
  } catch (error) {
    if (!isUnibusError(error) || error.code !== "conflict") effect();
    throw error;
  }
  effect();
}

/**
 * Notifies members of a change of their room. Members who have not accepted the room are notified at a limited rate.
 */
export function tellMembers(notices: Notices, stays: readonly StayRecord[], kind: NoticeKind, roomId: string): void {
  const endpointsOf = (accepted: boolean) =>
    stays.filter(({ acceptedAt }) => (acceptedAt !== null) === accepted).map(({ endpoint }) => endpoint);
  notices.tell(endpointsOf(true), kind, roomId);
  notices.tellSlowly(endpointsOf(false), kind, roomId);
}

/** Changes existing rooms under signed statements, and lets members leave. */
export class RoomMembership {
  constructor(private readonly deps: RoomMembershipDeps) {}

  /**
   * Starts a new epoch: signs out members who left, and the kicked member if one is given. Returns the new version.
   * Errors: forbidden, not_found, conflict, invalid as in POST /rooms/{id}/rekey.
   */
  rotate(membership: Membership, body: RotateBody, kicked: string | null): Promise<number> {
    return this.#hold(membership, () => this.#rotate(membership, body, kicked));
  }

  #hold<T>({ room }: Membership, change: () => Promise<T>): Promise<T> {
    const { places, store } = this.deps;
    return places.hold(room.roomId, () => whileUnchanged(store, room, change));
  }

  async #rotate(membership: Membership, body: RotateBody, kicked: string | null): Promise<number> {
    checkOwner(membership);
    const { room } = membership;
    const stays = await this.deps.store.listStays(room.roomId);
    const parsed = readStatement(body.statement);
    checkTurn(body.statement, parsed, room, stays);
    if (kicked !== null && !stays.some((stay) => isOpen(stay) && stay.endpoint === kicked)) throw notMember(kicked);
    if (room.policy.encrypt && parsed.keyCheck === room.keyCheck) {
      const line = lineName(statementLines.indexOf("key_check"));
      throw new UnibusError("invalid", `${line} of the statement is that of the previous epoch (make a new key)`);
    }
    const leavers = stays
      .filter((stay) => isOpen(stay) && stay.leftAt !== null)
      .sort((a, b) => (a.leftAt ?? 0) - (b.leftAt ?? 0))
      .map(({ endpoint }) => endpoint);
    const before = stateOf(room, stays, "");
    const stateWithout = (gone: readonly string[]) => ({
      ...nextState(before, { kind: "rotate", gone: new Set(gone), keyCheck: parsed.keyCheck }),
      prev: room.statementHash,
    });
    const kickedList = kicked === null ? [] : [kicked];
    const gone = new Set([...leavers, ...kickedList]);
    const state = stateWithout([...gone]);
    if (body.statement.text !== statementText(state)) {
      for (let unknown = 1; unknown <= Math.min(leaversMax, leavers.length); unknown++) {
        const earlier = stateWithout([...leavers.slice(0, -unknown), ...kickedList]);
        if (body.statement.text === statementText(earlier)) throw lost();
      }
    }
    const statement = await checkText(body.statement, state);
    const staying = stays.filter((stay) => isOpen(stay) && !gone.has(stay.endpoint));
    if (!staying.some(({ role }) => role === "owner")) throw lastOwner();
    const keys = checkKeys(body.keys ?? [], room.policy.encrypt, staying, {
      epoch: state.epoch,
      chargedTo: payerOf(statement),
    });
    const closed = stays.filter((stay) => isOpen(stay) && gone.has(stay.endpoint));
    const signedOut = closed.map((stay) => ({ ...stay, until: state.epoch }));
    const { version, epoch, keyCheck } = state;
    const limit = gone.size > 0 ? "removes" : "grows";
    // The route has already reserved space for a kick.
    const takeBack = kicked === null ? await this.#admit(membership, gone.size > 0, keys.length) : undefined;
    try {
      await withEffect(
        () => this.#apply({ ...room, version, epoch, keyCheck }, signedOut, keys, statement, limit),
        () => {
          this.#settle(membership);
          this.#tell(signedOut, "removed", room.roomId);
          this.#tell(staying, "rekeyed", room.roomId);
        },
      );
    } catch (error) {
      takeBack?.();
      throw error;
    }
    return version;
  }

  #admit({ stay }: Membership, completesLeaves: boolean, keys: number) {
    const writer = { endpoint: stay.endpoint, role: "member" as const };
    return this.deps.reserve?.admit(completesLeaves ? "departs" : "grows", writer, keys * keyBytes);
  }

  /** Grants or revokes ownership. Returns the new version. Errors: those of PUT /rooms/{id}/members/{endpoint}/role. */
  setRole(membership: Membership, body: RoleBody, endpoint: string): Promise<number> {
    return this.#hold(membership, () => this.#setRole(membership, body, endpoint));
  }

  async #setRole(membership: Membership, body: RoleBody, endpoint: string): Promise<number> {
    checkOwner(membership);
    const { room } = membership;
    const stays = await this.deps.store.listStays(room.roomId);
    const parsed = readStatement(body.statement);
    checkTurn(body.statement, parsed, room, stays);
    const stay = stays.find((one) => isIn(one) && one.endpoint === endpoint);
    if (stay === undefined) throw notMember(endpoint);
    const owners = stays.filter((one) => isIn(one) && one.role === "owner" && one.endpoint !== endpoint);
    if (body.role === "member" && owners.length === 0) throw lastOwner();
    if (body.role === "owner" && owners.length >= ownersMax) {
      throw new UnibusError("quota", `a room has at most ${ownersMax} owners (make one a member first)`);
    }
    const next = nextState(stateOf(room, stays, ""), { kind: "role", endpoint, role: body.role });
    const statement = await checkText(body.statement, { ...next, prev: room.statementHash });
    await withEffect(
      () => this.#apply({ ...room, version: next.version }, [{ ...stay, role: body.role }], [], statement, "grows"),
      () => this.#tell([stay], "role", room.roomId),
    );
    return next.version;
  }

  /** Ends a member's own access immediately. An owner's client signs the member out later. Errors: conflict. */
  leave({ room, stay }: Membership): Promise<void> {
    const { store, places, denials, now } = this.deps;
    return places.hold(room.roomId, async () => {
      const stays = (await store.listStays(room.roomId)).filter((one) => isIn(one) && one.endpoint !== stay.endpoint);
      const owners = stays.filter(({ role }) => role === "owner");
      if (stay.role === "owner" && owners.length === 0) throw lastOwner();
      await denials?.note("left", stayDenialKey(room.roomId, stay.endpoint, stay.since));
      await withEffect(
        // On another node an owner may leave or lose the role at the same time. Only the store sees both.
        () => store.changeStay(room.roomId, stay.endpoint, leavingUnlessLast(now())),
        () => {
          this.#settle({ room, stay });
          this.#tell([stay], "removed", room.roomId);
          this.#tell(owners, "rekey_pending", room.roomId);
        },
      );
    });
  }

  /** Stores a change that adds no stay. */
  async #apply(
    room: Membership["room"],
    stays: readonly StayRecord[],
    keys: readonly SealedKeyRecord[],
    statement: StatementRecord,
    limit: RowLimit,
  ): Promise<void> {
    const { store, quotas } = this.deps;
    const changed = { ...room, statementHash: sha256Hex(statement.text) };
    await quotas.change(room, { stays: [], keys, statement }, limit, async () => {
      if (!(await store.applyChange({ room: changed, stays, keys, statement }))) throw lost();
    });
  }

  #settle({ room }: Membership): void {
    if (room.policy.persist) this.deps.streams?.settle(room);
  }

  #tell(stays: readonly StayRecord[], kind: NoticeKind, roomId: string): void {
    tellMembers(this.deps.notices, stays, kind, roomId);
  }
}

/** Checks the sealed keys of a new epoch: one for each remaining member if encrypted, else none. Errors: invalid. */
function checkKeys(
  keys: NonNullable<RotateBody["keys"]>,
  encrypt: boolean,
  staying: readonly StayRecord[],
  { epoch, chargedTo }: { readonly epoch: number; readonly chargedTo: string },
): SealedKeyRecord[] {
  const due = new Set(encrypt ? staying.map(({ endpoint }) => endpoint) : []);
  const given = new Set(keys.map(({ endpoint }) => endpoint));
  if (given.size !== keys.length || given.size !== due.size || keys.some(({ endpoint }) => !due.has(endpoint))) {
    const wanted = encrypt
      ? "exactly one sealed key for each remaining member"
      : "empty, because the room is not encrypted";
    throw new UnibusError("invalid", `keys must be ${wanted} (read the members again)`);
  }
  return keys.map(({ endpoint, sealed_key }) => ({ endpoint, epoch, sealedKey: sealed_key, chargedTo }));
}
