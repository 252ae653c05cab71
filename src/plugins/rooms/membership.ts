/**
 * Changes of an existing room: a new epoch (rekey, kick, completing leaves), roles, and leaving.
 * Every change except a leave needs a statement: the next version, signed by an owner, whose text must equal the text
 * that the server computes. A leave ends access immediately; an owner's client completes it later with a new epoch.
 * Invariant: none of these changes takes the last owner from a room. Each is judged against the room at one revision
 * and stored only if the room still has it, so a departure or a change on another node is never overlooked. In this
 * process, changes of a room wait for each other. membership-routes.ts serves this.
 */
import { type Denials, stayDenialKey } from "../../contracts/denials.ts";
import type { NoticeKind, Notices } from "../../contracts/notices.ts";
import type { Reserve } from "../../contracts/reserve.ts";
import { payerOf } from "../../contracts/rows.ts";
import { isIn } from "../../contracts/stay-rules.ts";
import type {
  Membership,
  RoomChange,
  RoomRecord,
  RoomStore,
  SealedKeyRecord,
  StayRecord,
} from "../../contracts/store.ts";
import type { RoomStreams } from "../../contracts/streams.ts";
import type { KeyedMutex } from "../../lib/keyed-mutex.ts";
import type { Statement } from "../../wire/api.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";
import {
  lineName,
  nextState,
  ownersMax,
  type ParsedStatement,
  type RoomRole,
  statementLines,
  statementText,
} from "../../wire/statement.ts";
import { checkOwner, checkOwnerIn } from "./members.ts";
import type { RoomQuotas } from "./quotas.ts";
import type { RowLimit } from "./row-quota.ts";
import {
  applyChange,
  checkText,
  checkTurn,
  lost,
  nextRoom,
  readStatement,
  stateOf,
  whileUnchanged,
} from "./statements.ts";

/** How many of the most recent leaves a statement may have missed. Source: docs/protocol/rooms.md. */
const leaversMax = 64;

/** How often a leave that lost to another change is repeated. */
const attemptsMax = 100;

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
  /** Locked by room id during a leave or an owner's change, so that those on this node do not overtake each other. */
  readonly places: KeyedMutex;
  readonly reserve: Reserve | undefined;
  readonly quotas: RoomQuotas;
  readonly now: () => number;
}

/** What an owner's change is judged against: the room and its stays as they are, the statement, and who asks. */
interface Current {
  readonly room: RoomRecord;
  readonly stays: readonly StayRecord[];
  readonly parsed: ParsedStatement;
  readonly caller: string;
}

const isOpen = ({ until }: StayRecord): boolean => until === 0;

const notMember = (endpoint: string) => new UnibusError("not_found", `${endpoint} is not a member of this room`);

const lastOwner = () =>
  new UnibusError(
    "conflict",
    "the last owner cannot leave or be demoted (make another member an owner first, or delete the room)",
  );

/**
 * Stores a change, then runs its effect, unless another change came first (false). The effect also runs if the answer
 * was lost, because the change may be stored. Effects are only hints; their receivers read the actual state.
 */
async function withEffect<T>(change: () => Promise<T>, effect: () => void): Promise<T> {
  try {
    const result = await change();
    if (result !== false) effect();
    return result;
  } catch (error) {
    if (!isUnibusError(error) || error.code !== "conflict") effect();
    throw error;
  }
}

/**
 * Notifies members of a change of their room. Members who have not accepted the room are notified at a limited rate.
 */
export function notifyMembers(notices: Notices, stays: readonly StayRecord[], kind: NoticeKind, roomId: string): void {
  const endpointsOf = (accepted: boolean) =>
    stays.filter(({ acceptedAt }) => (acceptedAt !== null) === accepted).map(({ endpoint }) => endpoint);
  notices.notify(endpointsOf(true), kind, roomId);
  notices.notifyRateLimited(endpointsOf(false), kind, roomId);
}

/** Changes existing rooms under signed statements, and lets members leave. */
export class RoomMembership {
  constructor(private readonly deps: RoomMembershipDeps) {}

  /**
   * Starts a new epoch: signs out members who left, and the kicked member if one is given. Returns the new version.
   * Errors: forbidden, not_found, conflict, invalid as in POST /rooms/{id}/rekey.
   */
  rotate(membership: Membership, body: RotateBody, kicked: string | null): Promise<number> {
    const change = (current: Current) => this.#rotate(current, body, kicked);
    return this.#asOwner(membership, body.statement, change);
  }

  /** Runs an owner's change against the room as it is now, one at a time on this node. Errors: forbidden, invalid. */
  async #asOwner<T>(
    membership: Membership,
    statement: Statement,
    change: (current: Current) => Promise<T>,
  ): Promise<T> {
    checkOwner(membership);
    const { places, store } = this.deps;
    const caller = membership.stay.endpoint;
    const parsed = readStatement(statement);
    const judge = (room: RoomRecord, stays: readonly StayRecord[]) => {
      checkOwnerIn(stays, caller);
      checkTurn(statement, parsed, room, stays);
      return change({ room, stays, parsed, caller });
    };
    return places.hold(membership.room.roomId, () => whileUnchanged(store, membership.room, judge));
  }

  async #rotate({ room, stays, parsed, caller }: Current, body: RotateBody, kicked: string | null): Promise<number> {
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
    const limit = gone.size > 0 ? "removes" : "grows";
    // The route has already reserved space for a kick.
    const takeBack = kicked === null ? await this.#admit(caller, gone.size > 0, keys.length) : undefined;
    try {
      await withEffect(
        () => this.#apply(room, { room: nextRoom(room, state, statement), stays: signedOut, keys, statement }, limit),
        () => {
          this.#settle(room);
          this.#notify(signedOut, "removed", room.roomId);
          this.#notify(staying, "rekeyed", room.roomId);
        },
      );
    } catch (error) {
      takeBack?.();
      throw error;
    }
    return state.version;
  }

  #admit(endpoint: string, completesLeaves: boolean, keys: number) {
    const writer = { endpoint, role: "member" as const };
    return this.deps.reserve?.admit(completesLeaves ? "departs" : "grows", writer, keys * keyBytes);
  }

  /** Grants or revokes ownership. Returns the new version. Errors: those of PUT /rooms/{id}/members/{endpoint}/role. */
  setRole(membership: Membership, body: RoleBody, endpoint: string): Promise<number> {
    return this.#asOwner(membership, body.statement, (current) => this.#setRole(current, body, endpoint));
  }

  async #setRole({ room, stays }: Current, body: RoleBody, endpoint: string): Promise<number> {
    const stay = stays.find((one) => isIn(one) && one.endpoint === endpoint);
    if (stay === undefined) throw notMember(endpoint);
    const owners = stays.filter((one) => isIn(one) && one.role === "owner" && one.endpoint !== endpoint);
    if (body.role === "member" && owners.length === 0) throw lastOwner();
    if (body.role === "owner" && owners.length >= ownersMax) {
      throw new UnibusError("quota", `a room has at most ${ownersMax} owners (make one a member first)`);
    }
    const next = nextState(stateOf(room, stays, ""), { kind: "role", endpoint, role: body.role });
    const statement = await checkText(body.statement, { ...next, prev: room.statementHash });
    const change = {
      room: nextRoom(room, next, statement),
      stays: [{ ...stay, role: body.role }],
      keys: [],
      statement,
    };
    await withEffect(
      () => this.#apply(room, change, "grows"),
      () => this.#notify([stay], "role", room.roomId),
    );
    return next.version;
  }

  /** Ends a member's own access immediately. An owner's client signs the member out later. Errors: conflict. */
  leave({ room, stay }: Membership): Promise<void> {
    return this.deps.places.hold(room.roomId, () => this.#leave(room, stay));
  }

  /**
   * Marks the member as having left. On another node an owner may leave or lose the role at the same time, so an
   * owner's departure counts only if the room still has the revision at which another owner was in it.
   */
  async #leave(read: RoomRecord, { endpoint, since }: StayRecord): Promise<void> {
    const { store, denials, now } = this.deps;
    let room: RoomRecord | null = read;
    for (let tries = 0; tries < attemptsMax; tries++) {
      // The room was deleted or the member is out by now: nothing is left to do.
      if (room === null || room.deletedAt !== null) return;
      const { roomId, revision }: RoomRecord = room;
      const stays = (await store.listStays(roomId)).filter(isIn);
      const before = stays.find((stay) => stay.endpoint === endpoint && stay.since === since);
      if (before === undefined) return;
      const owners = stays.filter((stay) => stay.role === "owner" && stay.endpoint !== endpoint);
      const isOwner = before.role === "owner";
      if (isOwner && owners.length === 0) throw lastOwner();
      if (tries === 0) await denials?.note("left", stayDenialKey(roomId, endpoint, since));
      const change = { before, after: { ...before, leftAt: now() }, ...(isOwner && { revision }) };
      const left = room;
      const isDone = await withEffect(
        () => store.replaceStay(roomId, change),
        () => {
          this.#settle(left);
          this.#notify([before], "removed", roomId);
          this.#notify(owners, "rekey_pending", roomId);
        },
      );
      if (isDone) return;
      room = await store.getRoom(roomId);
    }
    throw new UnibusError("unavailable", "too many changes of this room at once (try again)");
  }

  /** Stores a change that adds no stay. */
  async #apply(room: RoomRecord, change: RoomChange, limit: RowLimit): Promise<void> {
    const { store, quotas } = this.deps;
    const { keys, statement } = change;
    await quotas.change(room, { stays: [], keys, statement }, limit, () => applyChange(store, change));
  }

  #settle(room: RoomRecord): void {
    if (room.policy.persist) this.deps.streams?.settle(room);
  }

  #notify(stays: readonly StayRecord[], kind: NoticeKind, roomId: string): void {
    notifyMembers(this.deps.notices, stays, kind, roomId);
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
