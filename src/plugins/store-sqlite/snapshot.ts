/**
 * Implements `Snapshot` in SQLite. An export streams rows from a second connection whose read transaction stays open,
 * so it is a consistent snapshot of one moment, whatever is written during it. An import upserts rows in batches. A
 * backup is made by `VACUUM INTO` a temporary file, which is renamed when complete. `unibus backup`, `unibus restore`
 * and the migration to the cluster store use it.
 */
import type { Database as Native } from "bun:sqlite";
import { chmodSync, existsSync, renameSync, rmSync } from "node:fs";
import type {
  InviteRecord,
  SealedKeyRecord,
  Snapshot,
  SnapshotRow,
  StatementRecord,
  UserRecord,
} from "../../contracts/store.ts";
import { UnibusError } from "../../wire/errors.ts";
import type { Database } from "./database.ts";
import { fileError, portError } from "./faults.ts";
import { type InviteBinding, insertInviteSql, selectInvites } from "./invites.ts";
import {
  insertKeySql,
  insertRoomSql,
  insertStatementSql,
  insertStaySql,
  type KeyBinding,
  keyColumns,
  type RoomBinding,
  type RoomRow,
  roomBinding,
  roomColumns,
  roomOf,
  type StatementBinding,
  type StayBinding,
  type StayRow,
  statementBinding,
  statementColumns,
  stayBinding,
  stayColumns,
  stayOf,
} from "./room-rows.ts";
import { insertUserSql, selectUsers, type UserBinding, userBinding, userChanges } from "./users.ts";

/** The number of rows in one transaction of an import. */
const importRowsMax = 500;

/** Streams all rows on demand, so that a large store is never in memory as a whole. */
function* rowsOf(reader: Native): Generator<SnapshotRow> {
  for (const user of reader.prepare<UserRecord, []>(selectUsers).iterate()) {
    yield { kind: "user", user: { ...user, revision: 0 } };
  }
  for (const invite of reader.prepare<InviteRecord, []>(selectInvites).iterate()) yield { kind: "invite", invite };
  const stays = reader.prepare<StayRow, [string]>(
    `SELECT ${stayColumns} FROM stays WHERE room_id = ? ORDER BY endpoint, since_epoch`,
  );
  const keys = reader.prepare<SealedKeyRecord, [string]>(
    `SELECT ${keyColumns} FROM sealed_keys WHERE room_id = ? ORDER BY endpoint, epoch`,
  );
  const statements = reader.prepare<StatementRecord, [string]>(
    `SELECT ${statementColumns} FROM statements WHERE room_id = ? ORDER BY version`,
  );
  for (const row of reader.prepare<RoomRow, []>(`SELECT ${roomColumns} FROM rooms ORDER BY room_id`).iterate()) {
    const { revision: _, ...room } = roomOf(row);
    const { roomId } = room;
    yield { kind: "room", room };
    for (const stay of stays.iterate(roomId)) yield { kind: "stay", roomId, stay: stayOf(stay) };
    for (const key of keys.iterate(roomId)) yield { kind: "key", roomId, key };
    for (const statement of statements.iterate(roomId)) yield { kind: "statement", roomId, statement };
  }
}

function createPut(native: Native): (row: SnapshotRow) => void {
  const putUser = native.prepare<never, [UserBinding]>(
    `${insertUserSql} ON CONFLICT (sign_pub) DO UPDATE SET ${userChanges}`,
  );
  const putInvite = native.prepare<never, [InviteBinding]>(`INSERT OR REPLACE ${insertInviteSql}`);
  const putRoom = native.prepare<never, [RoomBinding]>(`${insertRoomSql}
    ON CONFLICT (room_id) DO UPDATE SET subject = excluded.subject, encrypt = excluded.encrypt,
      persist = excluded.persist, sign_msgs = excluded.sign_msgs, epoch = excluded.epoch, key_check = excluded.key_check,
      version = excluded.version, statement_hash = excluded.statement_hash, creator = excluded.creator,
      created_at = excluded.created_at, deleted_at = excluded.deleted_at, revision = rooms.revision + 1`);
  const putStay = native.prepare<never, [StayBinding]>(`${insertStaySql}, left_at = excluded.left_at,
    devices = excluded.devices, accepted_at = excluded.accepted_at, added_by = excluded.added_by,
    sign_pub = excluded.sign_pub, kex_pub = excluded.kex_pub, kex_sig = excluded.kex_sig, handle = excluded.handle`);
  // A room with stays was not purged yet, so it holds its subject, even if it is deleted.
  const claimSubject = native.prepare<never, [string]>(
    "UPDATE rooms SET claims_subject = 1 WHERE room_id = ? AND claims_subject = 0",
  );
  const putKey = native.prepare<never, [KeyBinding]>(insertKeySql);
  const putStatement = native.prepare<never, [StatementBinding]>(insertStatementSql);

  return (row) => {
    switch (row.kind) {
      case "user":
        putUser.run(userBinding(row.user));
        break;
      case "invite":
        putInvite.run({ ...row.invite });
        break;
      case "room":
        putRoom.run(roomBinding({ ...row.room, revision: row.room.version }));
        break;
      case "stay":
        putStay.run(stayBinding(row.roomId, row.stay));
        claimSubject.run(row.roomId);
        break;
      case "key":
        putKey.run({ ...row.key, roomId: row.roomId });
        break;
      case "statement":
        putStatement.run(statementBinding(row.roomId, row.statement));
        break;
    }
  };
}

/** Implements the snapshot of a SQLite store. An export shows a single moment, even while others write. */
export function createSnapshot({ native, file, write, alone, freeze }: Database): Snapshot {
  const put = createPut(native);
  const makeRoster = native.prepare<never, []>(
    `UPDATE roster SET revision = revision + 1, admins = (SELECT json_group_array(sign_pub ORDER BY sign_pub)
       FROM users WHERE role = 'admin' AND status = 'active')`,
  );
  const vacuumInto = native.prepare<never, [string]>("VACUUM INTO ?");

  return {
    async *exportAll() {
      const reader = freeze();
      try {
        yield* rowsOf(reader);
      } catch (error) {
        throw portError(file, error);
      } finally {
        reader.close(true);
      }
    },
    async importAll(rows) {
      let batch: SnapshotRow[] = [];
      const putBatch = () => {
        const full = batch;
        batch = [];
        return write(() => full.forEach(put));
      };
      for await (const row of rows) {
        batch.push(row);
        if (batch.length === importRowsMax) await putBatch();
      }
      await putBatch();
      await write(() => makeRoster.run());
    },
    async backup(copy) {
      if (existsSync(copy)) throw new UnibusError("conflict", `${copy} already exists (choose another file)`);
      const part = `${copy}.part`;
      try {
        alone(() => vacuumInto.run(part));
        chmodSync(part, 0o600);
        renameSync(part, copy);
      } catch (error) {
        throw fileError(copy, error);
      } finally {
        rmSync(part, { force: true });
      }
    },
  };
}
