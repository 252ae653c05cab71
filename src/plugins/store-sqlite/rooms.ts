/**
 * Implements `RoomStore` in SQLite: reads, creation, changes and deletion of rooms. Every operation is one transaction,
 * so compare-and-set, counting against a limit, and writing are atomic. Only a purge takes several, each of limited
 * size, after the room is marked deleted. Row charges are maintained by triggers (migration 0005).
 */
import type { Database as Native } from "bun:sqlite";
import type {
  RoomChange,
  RoomRecord,
  RoomStore,
  SealedKeyRecord,
  StatementRecord,
  StayRecord,
} from "../../contracts/store.ts";
import { takenRoomId, takenSubject } from "../../contracts/taken.ts";
import { isOverUnaccepted, type UnacceptedLimits, unacceptedQuota } from "../../contracts/unaccepted.ts";
import type { Database } from "./database.ts";
import {
  countLiveSql,
  devicesText,
  insertKeySql,
  insertRoomSql,
  insertStatementSql,
  insertStaySql,
  type KeyBinding,
  keyColumns,
  membershipOf,
  type RoomBinding,
  type RoomRow,
  roomBinding,
  roomColumns,
  roomOf,
  type StatementBinding,
  type StayBinding,
  type StayRow,
  selectClaimant,
  statementBinding,
  statementColumns,
  stayBinding,
  stayColumns,
  stayOf,
} from "./room-rows.ts";

const selectOpenStay = `SELECT ${stayColumns} FROM stays WHERE room_id = ? AND endpoint = ? AND until_epoch = 0`;

/** The most rows that one transaction of a purge removes, so that a large room does not block the others. */
const purgeRowsMax = 5_000;

type Deletion = Pick<RoomStore, "markDeleted" | "purgeRoom" | "dropKeys">;
type Changes = Pick<RoomStore, "applyChange" | "replaceStay">;
type Totals = Pick<RoomStore, "countMembers" | "countRoomsBy" | "rowBytesOf">;
type Reads = Omit<RoomStore, keyof Deletion | keyof Changes | keyof Totals | "insertRoom">;

function createReads({ native, read }: Database): Reads {
  const byId = native.prepare<RoomRow, [string]>(`SELECT ${roomColumns} FROM rooms WHERE room_id = ?`);
  const claimant = native.prepare<{ roomId: string }, [string]>(selectClaimant);
  const openStay = native.prepare<StayRow, [string, string]>(selectOpenStay);
  const stays = native.prepare<StayRow, [string]>(
    `SELECT ${stayColumns} FROM stays WHERE room_id = ? ORDER BY endpoint, since_epoch`,
  );
  // One prepared statement for each case, so that each one uses its own index.
  const roomsOf = (condition: string) =>
    native.prepare<RoomRow & StayRow, [string, string, number]>(
      `SELECT ${roomColumns}, ${stayColumns} FROM stays JOIN rooms ON rooms.room_id = stays.room_id
       WHERE stays.endpoint = ? AND stays.room_id > ? AND stays.until_epoch = 0 AND stays.left_at IS NULL
         AND rooms.deleted_at IS NULL ${condition}
       ORDER BY stays.room_id LIMIT ?`,
    );
  const allOf = roomsOf("");
  const acceptedOf = roomsOf("AND stays.accepted_at IS NOT NULL");
  const unacceptedOf = roomsOf("AND stays.accepted_at IS NULL");
  const key = native.prepare<SealedKeyRecord, [string, string, number | null, number | null]>(
    `SELECT ${keyColumns} FROM sealed_keys WHERE room_id = ? AND endpoint = ? AND (? IS NULL OR epoch = ?)
     ORDER BY epoch DESC LIMIT 1`,
  );
  const statements = native.prepare<StatementRecord, [string, number, number]>(
    `SELECT ${statementColumns} FROM statements WHERE room_id = ? AND version >= ? ORDER BY version LIMIT ?`,
  );
  const page = native.prepare<RoomRow, [string, number]>(
    `SELECT ${roomColumns} FROM rooms WHERE room_id > ? ORDER BY room_id LIMIT ?`,
  );

  return {
    async getRoom(roomId) {
      const row = await read(() => byId.get(roomId));
      return row && roomOf(row);
    },
    async findRoomId(subject) {
      return (await read(() => claimant.get(subject)))?.roomId ?? null;
    },
    async getStay(roomId, endpoint) {
      const row = await read(() => openStay.get(roomId, endpoint));
      return row && stayOf(row);
    },
    async listStays(roomId) {
      return (await read(() => stays.all(roomId))).map(stayOf);
    },
    async listRoomsOf(endpoint, { after = null, limit = -1, accepted } = {}) {
      const found = accepted === undefined ? allOf : accepted ? acceptedOf : unacceptedOf;
      return (await read(() => found.all(endpoint, after ?? "", limit))).map(membershipOf);
    },
    async getSealedKey(roomId, endpoint, epoch) {
      return read(() => key.get(roomId, endpoint, epoch, epoch));
    },
    async listStatements(roomId, from, limit) {
      return read(() => statements.all(roomId, from, limit));
    },
    async listRooms(after, limit) {
      return (await read(() => page.all(after ?? "", limit))).map(roomOf);
    },
  };
}

function createTotals({ native, read }: Database): Totals {
  const countIn = native.prepare<{ count: number }, [string]>(
    "SELECT count(*) AS count FROM stays WHERE room_id = ? AND until_epoch = 0 AND left_at IS NULL",
  );
  const countBy = native.prepare<{ count: number }, [string]>(countLiveSql);
  const rowBytes = native.prepare<{ bytes: number }, [string]>(
    "SELECT coalesce(sum(bytes), 0) AS bytes FROM row_charges WHERE payer = ?",
  );
  return {
    async countMembers(roomId) {
      return (await read(() => countIn.get(roomId)))?.count ?? 0;
    },
    async countRoomsBy(creator) {
      return (await read(() => countBy.get(creator)))?.count ?? 0;
    },
    async rowBytesOf(payer) {
      return (await read(() => rowBytes.get(payer)))?.bytes ?? 0;
    },
  };
}

/** Writes the parts of a room's new version. */
function createPutParts({
  native,
}: Database): (roomId: string, parts: Omit<RoomChange, "room" | "unaccepted">) => void {
  const putStay = native.prepare<never, [StayBinding]>(insertStaySql);
  const putKey = native.prepare<never, [KeyBinding]>(insertKeySql);
  const putStatement = native.prepare<never, [StatementBinding]>(insertStatementSql);
  return (roomId, { stays, keys, statement }) => {
    for (const stay of stays) putStay.run(stayBinding(roomId, stay));
    for (const key of keys) putKey.run({ ...key, roomId });
    putStatement.run(statementBinding(roomId, statement));
  };
}

/** Creates a check whether a new stay exceeds the limits on unaccepted memberships. */
export function createUnacceptedCheck(native: Native): (stay: StayRecord, limits: UnacceptedLimits) => boolean {
  const live = `FROM stays JOIN rooms ON rooms.room_id = stays.room_id
     WHERE stays.endpoint = ? AND stays.until_epoch = 0 AND stays.left_at IS NULL AND stays.accepted_at IS NULL
       AND rooms.deleted_at IS NULL`;
  const ofAdder = native.prepare<{ count: number }, [string, string]>(
    `SELECT count(*) AS count ${live} AND stays.added_by = ?`,
  );
  const inAll = native.prepare<{ count: number; adders: number }, [string]>(
    `SELECT count(*) AS count, count(DISTINCT stays.added_by) AS adders ${live}`,
  );
  return ({ endpoint, addedBy, acceptedAt }, limits) => {
    if (acceptedAt !== null || addedBy === null) return false;
    const mine = ofAdder.get(endpoint, addedBy)?.count ?? 0;
    // Most adders have no unaccepted stay with this user; then there is nothing else to count.
    if (mine === 0) return false;
    const { count: all = 0, adders = 0 } = inAll.get(endpoint) ?? {};
    return isOverUnaccepted({ all, ofAdder: mine, adders }, limits);
  };
}

function createInsert(database: Database): RoomStore["insertRoom"] {
  const { native, write } = database;
  const putParts = createPutParts(database);
  const known = native.prepare<{ deletedAt: number | null }, [string]>(
    "SELECT deleted_at AS deletedAt FROM rooms WHERE room_id = ?",
  );
  const claimant = native.prepare<{ roomId: string }, [string]>(selectClaimant);
  const liveBy = native.prepare<{ count: number }, [string]>(countLiveSql);
  const insertRoom = native.prepare<never, [RoomBinding]>(insertRoomSql);
  return ({ room, stay, ...parts }, liveMax = Number.POSITIVE_INFINITY) => {
    const { roomId, subject, creator } = room;
    return write(() => {
      const same = known.get(roomId);
      if (same) throw takenRoomId(roomId, same.deletedAt !== null);
      if (claimant.get(subject)) throw takenSubject(subject);
      if ((liveBy.get(creator)?.count ?? 0) >= liveMax) return false;
      insertRoom.run(roomBinding(room));
      putParts(roomId, { ...parts, stays: [stay] });
      return true;
    });
  };
}

/** What a change of a stay compares, and what it sets. */
interface StaySwap {
  readonly roomId: string;
  readonly endpoint: string;
  readonly since: number;
  readonly role: string;
  readonly revision: number | null;
  readonly leftAt: number | null;
  readonly devices: string;
  readonly acceptedAt: number | null;
  readonly handle: string;
  readonly nextLeftAt: number | null;
  readonly nextDevices: string;
  readonly nextAcceptedAt: number | null;
  readonly nextHandle: string;
}

function createChanges(database: Database): Changes {
  const { native, write } = database;
  const putParts = createPutParts(database);
  type Next = Pick<RoomRecord, "roomId" | "epoch" | "keyCheck" | "version" | "statementHash" | "revision">;
  const advance = native.prepare<never, [Next]>(
    `UPDATE rooms SET epoch = $epoch, key_check = $keyCheck, version = $version, statement_hash = $statementHash,
       revision = $revision
     WHERE room_id = $roomId AND revision = $revision - 1 AND deleted_at IS NULL`,
  );
  const swapStay = native.prepare<never, [Pick<StaySwap, keyof StaySwap>]>(
    `UPDATE stays SET left_at = $nextLeftAt, devices = $nextDevices, accepted_at = $nextAcceptedAt, handle = $nextHandle
     WHERE room_id = $roomId AND endpoint = $endpoint AND since_epoch = $since AND until_epoch = 0 AND role = $role
       AND left_at IS $leftAt AND devices = $devices AND accepted_at IS $acceptedAt AND handle = $handle
       AND EXISTS (SELECT 1 FROM rooms WHERE rooms.room_id = $roomId AND deleted_at IS NULL
         AND revision = coalesce($revision, revision))`,
  );
  const depart = native.prepare<never, [string]>("UPDATE rooms SET revision = revision + 1 WHERE room_id = ?");
  const isOver = createUnacceptedCheck(native);

  return {
    applyChange({ room, unaccepted, ...parts }) {
      const { roomId, epoch, keyCheck, version, statementHash, revision } = room;
      return write(() => {
        if (advance.run({ roomId, epoch, keyCheck, version, statementHash, revision }).changes === 0) return false;
        const refused = unaccepted && parts.stays.find((stay) => isOver(stay, unaccepted));
        if (refused) throw unacceptedQuota(refused.endpoint);
        putParts(roomId, parts);
        return true;
      });
    },
    replaceStay(roomId, { before, after, revision = null }) {
      const { endpoint, since, role, leftAt, acceptedAt, handle } = before;
      const swap: StaySwap = {
        ...{ roomId, endpoint, since, role, revision, leftAt, acceptedAt, handle },
        devices: devicesText(before.devices),
        nextLeftAt: after.leftAt,
        nextDevices: devicesText(after.devices),
        nextAcceptedAt: after.acceptedAt,
        nextHandle: after.handle,
      };
      return write(() => {
        if (swapStay.run({ ...swap }).changes === 0) return false;
        if (after.leftAt !== leftAt) depart.run(roomId);
        return true;
      });
    },
  };
}

function createDeletion({ native, write }: Database): Deletion {
  const mark = native.prepare<never, [number, string]>(
    "UPDATE rooms SET deleted_at = ? WHERE room_id = ? AND deleted_at IS NULL",
  );
  const isDeleted = native.prepare<{ found: 1 }, [string]>(
    "SELECT 1 AS found FROM rooms WHERE room_id = ? AND deleted_at IS NOT NULL",
  );
  const slice = (table: string, key: string) =>
    native.prepare<never, [string, number]>(
      `DELETE FROM ${table} WHERE (${key}) IN (SELECT ${key} FROM ${table} WHERE room_id = ? LIMIT ?)`,
    );
  const slices = [
    slice("sealed_keys", "room_id, endpoint, epoch"),
    slice("statements", "room_id, version"),
    slice("stays", "room_id, endpoint, since_epoch"),
  ];
  const freeSubject = native.prepare<never, [string]>(
    "UPDATE rooms SET claims_subject = 0 WHERE room_id = ? AND deleted_at IS NOT NULL",
  );

  const dropKeys = native.prepare<never, [string, number]>(
    `DELETE FROM sealed_keys WHERE (room_id, endpoint, epoch) IN (
       SELECT sealed_keys.room_id, sealed_keys.endpoint, sealed_keys.epoch
       FROM (
         SELECT room_id, endpoint FROM stays WHERE room_id = ? GROUP BY room_id, endpoint HAVING min(until_epoch) > 0
       ) AS gone
       JOIN sealed_keys ON sealed_keys.room_id = gone.room_id AND sealed_keys.endpoint = gone.endpoint
       LIMIT ?
     )`,
  );

  return {
    async dropKeys(roomId) {
      const dropped = await write(() => dropKeys.run(roomId, purgeRowsMax).changes);
      return dropped < purgeRowsMax ? null : "";
    },
    markDeleted(roomId, at) {
      return write(() => mark.run(at, roomId).changes === 1);
    },
    async purgeRoom(roomId) {
      if (!(await write(() => isDeleted.get(roomId)))) return;
      for (const remove of slices) {
        while ((await write(() => remove.run(roomId, purgeRowsMax).changes)) === purgeRowsMax);
      }
      await write(() => freeSubject.run(roomId));
    },
  };
}

/** Implements the room store in SQLite. */
export function createRooms(database: Database): RoomStore {
  return {
    ...createReads(database),
    ...createTotals(database),
    insertRoom: createInsert(database),
    ...createChanges(database),
    ...createDeletion(database),
  };
}
