/**
 * Restores a room whose newer versions a bus lost because it was restored from an older backup. An owner uploads the
 * signed statements, the member lines and the sealed keys. The bus verifies everything in slices of 10 ms and stores
 * all of it in one step, or nothing.
 * Order of refusals: forbidden, gone, conflict, those of creating a room and adding members, invalid.
 * Source: docs/protocol/rooms.md.
 */

import type { Caller } from "../../../contracts/auth.ts";
import type { Log } from "../../../contracts/plugin.ts";
import { type ChargedRows, chargesOf } from "../../../contracts/rows.ts";
import { isIn } from "../../../contracts/stay-rules.ts";
import type { RoomRecord, RoomStore, StayRecord, UserStore } from "../../../contracts/store.ts";
import type { RoomStreams } from "../../../contracts/streams.ts";
import { unacceptedLimits } from "../../../contracts/unaccepted.ts";
import type { RoomRestoration, WayBackStore } from "../../../contracts/way-back.ts";
import { TimeSlices } from "../../../lib/time-slices.ts";
import type { Restore } from "../../../wire/api.ts";
import { UnibusError } from "../../../wire/errors.ts";
import { endpointId } from "../../../wire/names.ts";
import type { ParsedStatement } from "../../../wire/statement.ts";
import { ulidTimeMs } from "../../../wire/ulid.ts";
import { gone } from "../context.ts";
import { type CreateRules, checkPlace, tooManyRooms } from "../create.ts";
import { lost } from "../statements.ts";
import { BorneRows } from "./borne-rows.ts";
import {
  type ChainStatement,
  type Comparison,
  compareChains,
  lastOf,
  readChain,
  verifyChain,
  wrongLine,
} from "./chain.ts";
import { exactKeys, possibleKeys } from "./keys.ts";
import { checkHistory, checkLines, stayName, staysOf } from "./lines.ts";

/** How long verification runs without yielding to the event loop, in milliseconds. Source: docs/protocol/rooms.md. */
const sliceMs = 10;

/** The dependencies of `Restoring`. */
export interface RestoringDeps {
  readonly store: RoomStore;
  readonly users: UserStore;
  readonly wayBack: WayBackStore;
  readonly streams: RoomStreams | undefined;
  readonly rules: CreateRules;
  readonly log: Log;
}

/** The rows that a restoration adds to a room. */
type AddedRows = Pick<RoomRestoration, "keys" | "statements"> & Pick<ChargedRows, "stays">;

/** The result of a restoration: the room, and its stays before and after. */
export interface Restored {
  readonly room: RoomRecord;
  readonly before: readonly StayRecord[];
  readonly after: readonly StayRecord[];
}

const conflict = (message: string) => new UnibusError("conflict", message);

/** Creates the time slices of one restoration. */
export function restorationSlices(): TimeSlices {
  return new TimeSlices(sliceMs);
}

/** Restores rooms from the statements of their owners. */
export class Restoring {
  readonly #borne: BorneRows;

  constructor(private readonly deps: RestoringDeps) {
    this.#borne = new BorneRows(deps.users, deps.rules.quotas.rows);
  }

  /** Restores a room, or adds missing keys if no statement is given. Errors: those of the route. */
  async restore(roomId: string, body: Restore, caller: Caller, slices: TimeSlices): Promise<Restored> {
    if (body.statements.length === 0) return this.#addKeys(roomId, body, caller, slices);
    const { store } = this.deps;
    const last = lastOf(roomId, body.statements);
    checkMayRestore(last, caller);
    const room = await store.getRoom(roomId);
    if (room !== null && room.deletedAt !== null) throw gone();
    const holder = await store.findRoomId(last.subject);
    if (holder !== null && holder !== roomId) throw conflict(`the subject ${last.subject} belongs to another room`);
    const chain = await readChain(roomId, body.statements, slices);
    const comparison = await compareChains(store, room, chain, slices);
    if (comparison.added.length === 0) {
      throw conflict(`the bus already has version ${room?.version} of this room (there is nothing to restore)`);
    }
    const verify = () => verifyChain(comparison.base, comparison.added, slices);
    const forks = comparison.head !== null && comparison.head.hash !== comparison.base?.hash;
    // Verify a fork first: only a valid chain is noted for the admins and gets to see what the bus has.
    if (forks) await verify();
    if (forks) await this.#checkContest(roomId, comparison, caller);
    if (comparison.base === null) checkPlace(chain[0]?.parsed ?? last, caller, this.deps.rules);
    if (!forks) await verify();
    return this.#store(last, body, comparison, { caller, room, slices });
  }

  /** Handles a fork. Errors: contested unless an admin admitted this chain; invalid if it forks too early. */
  async #checkContest(roomId: string, { base, added, head, differs }: Comparison, caller: Caller): Promise<void> {
    if (head === null) return;
    const { wayBack, log, rules } = this.deps;
    const restored = await wayBack.getRestoredHead(roomId);
    const baseVersion = base?.parsed.version ?? 0;
    if (restored !== null && baseVersion < restored.version) {
      throw wrongLine(baseVersion + 1, differs ?? 0, "it differs from the statement in the bus's backup");
    }
    const theirs = added.at(-1) as ChainStatement;
    if ((await wayBack.getTakenChain(roomId)) === theirs.hash) return;
    const chain = { roomId, version: theirs.parsed.version, hash: theirs.hash, by: caller.signPub, at: rules.now() };
    await wayBack.noteContested(chain);
    const yours = { version: chain.version, hash: theirs.hash, signer: theirs.record.by };
    const bus = { version: head.parsed.version, hash: head.hash, signer: head.record.by };
    log.warn("a contested chain was offered (to admit it: unibus way-back take ROOM HASH)", {
      room_id: roomId,
      offered: yours,
      bus,
    });
    throw new UnibusError(
      "contested",
      `this chain forks from the bus's after version ${baseVersion}: it ends with ${yours.hash}, signed by ` +
        `${yours.signer}; the bus has ${bus.hash}, signed by ${bus.signer} (ask an admin to choose: ` +
        `unibus way-back take ${roomId} HASH)`,
      { details: { base: baseVersion, offered: yours, bus } },
    );
  }

  async #store(
    last: ParsedStatement,
    body: Restore,
    { base, added, head }: Comparison,
    {
      caller,
      room,
      slices,
    }: { readonly caller: Caller; readonly room: RoomRecord | null; readonly slices: TimeSlices },
  ): Promise<Restored> {
    const { store, users, wayBack, rules } = this.deps;
    const { roomId } = last;
    // Without a common base it is a different room with the same id: nothing of the old one is kept.
    const own = base === null ? [] : await store.listStays(roomId);
    const baseEpoch = base?.parsed.epoch ?? 0;
    await checkLines(last, body.members, slices);
    if (head !== null && head.hash === base?.hash) checkHistory(own, body.members, baseEpoch);
    if (!last.policy.encrypt && body.keys.length > 0) {
      throw new UnibusError("invalid", "keys are not allowed because the room is not encrypted (leave them out)");
    }
    const keyContext = { lines: body.members, epoch: last.epoch, baseEpoch, own, caller: caller.endpoint, slices };
    const keys = last.policy.encrypt ? await exactKeys(body.keys, keyContext) : [];
    const denied = await wayBack.listDeniedStays(roomId);
    const stays = await staysOf(body.members, { users, own, denied, caller, now: rules.now(), slices });
    const restoration: RoomRestoration = {
      room:
        base === null || room === null
          ? await this.#newRoom(last, added, caller)
          : { ...room, ...stateAfter(last, added) },
      expected: room && { version: room.version, hash: room.statementHash },
      base: { version: base?.parsed.version ?? 0, epoch: baseEpoch },
      statements: added.map(({ record }) => record),
      stays: stays.sort((a, b) => (a.endpoint === b.endpoint ? a.since - b.since : a.endpoint < b.endpoint ? -1 : 1)),
      keys,
      unaccepted: unacceptedLimits,
    };
    const before = base === null && room !== null ? await store.listStays(roomId) : own;
    const known = new Set(own.map(stayName));
    const rows = { ...restoration, stays: stays.filter((stay) => !known.has(stayName(stay))) };
    await this.#commit(restoration, room, rows, caller);
    await rules.newcomers.check(roomId, stays.filter(isIn));
    return { room: restoration.room, before, after: stays };
  }

  /**
   * The record of a room that the bus does not have. Its creator counts and pays for it: the caller, if the owner of
   * the first statement is not an active user of this bus.
   */
  async #newRoom(last: ParsedStatement, added: readonly ChainStatement[], caller: Caller): Promise<RoomRecord> {
    const now = this.deps.rules.now();
    const { roomId, subject, policy } = last;
    const first = endpointId(added[0]?.parsed.owners[0] ?? "");
    const creator = (await this.#borne.pays(first)) ? first : caller.endpoint;
    // No statement contains the creation time, so it is taken from the room's id.
    const createdAt = Math.min(now, ulidTimeMs(roomId));
    const made = { roomId, subject, policy, creator, createdAt, deletedAt: null, rekeyPending: false, revision: 1 };
    return { ...made, ...stateAfter(last, added) };
  }

  /** Stores a restoration. As in creating a room, the stream is created before the row. */
  async #commit(
    restoration: RoomRestoration,
    before: RoomRecord | null,
    added: AddedRows,
    caller: Caller,
  ): Promise<void> {
    const { streams, wayBack, rules } = this.deps;
    const { room } = restoration;
    const { creator } = room;
    const { stays, keys, statements } = added;
    const charges = chargesOf({ stays, keys, statements, creator, ...(before === null && { room }) });
    const store = async (): Promise<void> => {
      if (streams !== undefined && room.policy.persist && before?.subject !== room.subject) {
        // The stream of a different room with the same id contains its messages and has another subject.
        if (before !== null) await streams.remove(room.roomId);
        await streams.ensure(room);
      }
      const outcome = await wayBack.restoreRoom(restoration, rules.perUserMax);
      if (outcome === "too_many_rooms") throw tooManyRooms(rules);
      if (outcome === "overtaken") throw lost();
    };
    const charged = () => this.#borne.during(charges, caller.endpoint, store);
    await rules.places.hold(room.roomId, () => rules.places.hold(room.subject, charged));
  }

  /** Adds missing keys to a room whose statements the bus already has. */
  async #addKeys(roomId: string, body: Restore, caller: Caller, slices: TimeSlices): Promise<Restored> {
    const { store } = this.deps;
    const room = await store.getRoom(roomId);
    if (room === null)
      throw new UnibusError("invalid", "statements is empty but the bus does not know this room (send its chain)");
    if (room.deletedAt !== null) throw gone();
    const [statement] = await store.listStatements(roomId, room.version, 1);
    if (statement === undefined) throw lost();
    const head = lastOf(roomId, [statement]);
    checkMayRestore(head, caller);
    await checkLines(head, body.members, slices);
    const own = await store.listStays(roomId);
    if (!head.policy.encrypt && body.keys.length > 0) {
      throw new UnibusError("invalid", "keys are not allowed because the room is not encrypted (leave them out)");
    }
    const { version, statementHash: hash, epoch } = room;
    const keys = await possibleKeys(body.keys, { own, epoch, caller: caller.endpoint, slices });
    const same = { room, expected: { version, hash }, base: { version, epoch }, statements: [], stays: own };
    await this.#commit({ ...same, keys }, room, { stays: [], keys, statements: [] }, caller);
    return { room, before: own, after: own };
  }
}

/** Checks that the caller is an owner in the newest statement. Errors: forbidden. */
function checkMayRestore({ owners, version }: ParsedStatement, caller: Caller): void {
  if (owners.includes(caller.signPub)) return;
  throw new UnibusError("forbidden", `you are not an owner of the room in version ${version} (ask one to restore it)`);
}

/** The state of a room after a restoration. */
function stateAfter({ epoch, keyCheck, version }: ParsedStatement, added: readonly ChainStatement[]) {
  return { epoch, keyCheck, version, statementHash: added.at(-1)?.hash ?? "" };
}
