import type { RoomChange, RoomStore, SealedKeyRecord, StatementRecord } from "../../contracts/store.ts";
import { UnibusError } from "../../wire/errors.ts";
import type { Database } from "./database.ts";
import {
  devicesOf,
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
  statementColumns,
  stayBinding,
  stayColumns,
  stayOf,
} from "./room-rows.ts";

/** How many rows of a purged room one transaction removes, so that a large room does not hold up the others. */
const purgeRowsMax = 5_000;

type Deletion = Pick<RoomStore, "markDeleted" | "purgeRoom">;
type Changes = Pick<RoomStore, "insertRoom" | "applyChange" | "markLeft">;
type Devices = Pick<RoomStore, "addDevice" | "removeDevice">;
type Reads = Omit<RoomStore, keyof Deletion | keyof Changes | keyof Devices>;

function createReads({ native, read }: Database): Reads {
  const byId = native.prepare<RoomRow, [string]>(`SELECT ${roomColumns} FROM rooms WHERE room_id = ?`);
  const claimant = native.prepare<{ roomId: string }, [string]>(selectClaimant);
  const openStay = native.prepare<StayRow, [string, string]>(
    `SELECT ${stayColumns} FROM stays WHERE room_id = ? AND endpoint = ? AND until_epoch = 0`,
  );
  const stays = native.prepare<StayRow, [string]>(
    `SELECT ${stayColumns} FROM stays WHERE room_id = ? ORDER BY endpoint, since_epoch`,
  );
  const roomsOf = native.prepare<RoomRow & StayRow, [string]>(
    `SELECT ${roomColumns}, ${stayColumns} FROM stays JOIN rooms ON rooms.room_id = stays.room_id
     WHERE stays.endpoint = ? AND stays.until_epoch = 0 AND stays.left_at IS NULL AND rooms.deleted_at IS NULL
     ORDER BY stays.room_id`,
  );
  const countBy = native.prepare<{ count: number }, [string]>(
    "SELECT count(*) AS count FROM rooms WHERE creator = ? AND deleted_at IS NULL",
  );
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
      const row = read(() => byId.get(roomId));
      return row && roomOf(row);
    },
    async findRoomId(subject) {
      return read(() => claimant.get(subject))?.roomId ?? null;
    },
    async getStay(roomId, endpoint) {
      const row = read(() => openStay.get(roomId, endpoint));
      return row && stayOf(row);
    },
    async listStays(roomId) {
      return read(() => stays.all(roomId)).map(stayOf);
    },
    async listRoomsOf(endpoint) {
      return read(() => roomsOf.all(endpoint)).map(membershipOf);
    },
    async countRoomsBy(creator) {
      return read(() => countBy.get(creator))?.count ?? 0;
    },
    async getSealedKey(roomId, endpoint, epoch) {
      return read(() => key.get(roomId, endpoint, epoch, epoch));
    },
    async listStatements(roomId, from, limit) {
      return read(() => statements.all(roomId, from, limit));
    },
    async listRooms(after, limit) {
      return read(() => page.all(after ?? "", limit)).map(roomOf);
    },
  };
}

/** Undoes a change that came too late: the owner on whom it counted has left since. */
const noOwnerIn = new UnibusError("conflict", "no owner would be in the room (read it again)");

function createChanges({ native, write }: Database): Changes {
  const known = native.prepare<{ deletedAt: number | null }, [string]>(
    "SELECT deleted_at AS deletedAt FROM rooms WHERE room_id = ?",
  );
  const claimant = native.prepare<{ roomId: string }, [string]>(selectClaimant);
  const insertRoom = native.prepare<never, [RoomBinding]>(insertRoomSql);
  const advance = native.prepare<
    never,
    [Pick<RoomBinding, "roomId" | "epoch" | "keyCheck" | "version" | "statementHash">]
  >(
    `UPDATE rooms SET epoch = $epoch, key_check = $keyCheck, version = $version, statement_hash = $statementHash
     WHERE room_id = $roomId AND version = $version - 1 AND deleted_at IS NULL`,
  );
  // Whoever was marked left after the change was prepared stays so.
  const putStay = native.prepare<never, [StayBinding]>(
    `${insertStaySql}, left_at = coalesce(left_at, excluded.left_at)`,
  );
  const putKey = native.prepare<never, [KeyBinding]>(insertKeySql);
  const putStatement = native.prepare<never, [StatementBinding]>(insertStatementSql);
  const leave = native.prepare<never, [number, string, string]>(
    "UPDATE stays SET left_at = ? WHERE room_id = ? AND endpoint = ? AND until_epoch = 0 AND left_at IS NULL",
  );
  const ownerIn = native.prepare<{ found: 1 }, [string]>(
    `SELECT 1 AS found FROM stays WHERE room_id = ? AND role = 'owner' AND until_epoch = 0 AND left_at IS NULL LIMIT 1`,
  );
  const putParts = (roomId: string, { stays, keys, statement }: Omit<RoomChange, "room">): void => {
    for (const stay of stays) putStay.run(stayBinding(roomId, stay));
    for (const key of keys) putKey.run({ ...key, roomId });
    putStatement.run({ ...statement, roomId });
  };

  return {
    insertRoom({ room, stay, ...parts }) {
      const { roomId, subject } = room;
      return write(() => {
        const same = known.get(roomId);
        if (same?.deletedAt === null) {
          throw new UnibusError("conflict", `the room id ${roomId} belongs to another room (choose a fresh one)`);
        }
        if (same)
          throw new UnibusError("gone", `the room id ${roomId} belonged to a deleted room (choose a fresh one)`);
        if (claimant.get(subject)) {
          throw new UnibusError("conflict", `the subject ${subject} belongs to another room (choose another)`);
        }
        insertRoom.run(roomBinding(room));
        putParts(roomId, { ...parts, stays: [stay] });
      });
    },
    applyChange({ room, ...parts }) {
      const { roomId, epoch, keyCheck, version, statementHash } = room;
      return write(() => {
        if (advance.run({ roomId, epoch, keyCheck, version, statementHash }).changes === 0) return false;
        putParts(roomId, parts);
        if (!ownerIn.get(roomId)) throw noOwnerIn;
        return true;
      }).catch((error: unknown) => {
        if (error === noOwnerIn) return false;
        throw error;
      });
    },
    markLeft(roomId, endpoint, at, { keepOwner = false } = {}) {
      return write(() => {
        const isMarked = leave.run(at, roomId, endpoint).changes > 0;
        if (!isMarked || !keepOwner || ownerIn.get(roomId)) return isMarked;
        throw new UnibusError("conflict", "the last owner cannot go (make another member an owner)");
      });
    },
  };
}

function createDevices({ native, write }: Database): Devices {
  const devices = native.prepare<{ devices: string }, [string, string]>(
    "SELECT devices FROM stays WHERE room_id = ? AND endpoint = ? AND until_epoch = 0",
  );
  const setDevices = native.prepare<never, [string, string, string]>(
    "UPDATE stays SET devices = ? WHERE room_id = ? AND endpoint = ? AND until_epoch = 0",
  );

  const changeDevices = (roomId: string, endpoint: string, change: (names: Set<string>) => unknown) =>
    write(() => {
      const row = devices.get(roomId, endpoint);
      if (!row) return null;
      const names = new Set(devicesOf(row.devices));
      change(names);
      const sorted = [...names].sort();
      setDevices.run(sorted.join(" "), roomId, endpoint);
      return sorted;
    });

  return {
    addDevice: (roomId, endpoint, device) => changeDevices(roomId, endpoint, (names) => names.add(device)),
    async removeDevice(roomId, endpoint, device) {
      await changeDevices(roomId, endpoint, (names) => names.delete(device));
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

  return {
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

/** Rooms in SQLite. */
export function createRooms(database: Database): RoomStore {
  return {
    ...createReads(database),
    ...createChanges(database),
    ...createDevices(database),
    ...createDeletion(database),
  };
}
