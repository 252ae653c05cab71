import { payerOf } from "../../contracts/rows.ts";
import type { Membership, RoomRecord, SealedKeyRecord, StatementRecord, StayRecord } from "../../contracts/store.ts";

/** The columns of a room, selected from `rooms`. */
export const roomColumns = `rooms.room_id AS roomId, rooms.subject AS subject, rooms.encrypt AS encrypt,
  rooms.persist AS persist, rooms.sign_msgs AS signMsgs, rooms.epoch AS epoch, rooms.key_check AS keyCheck,
  rooms.version AS version, rooms.statement_hash AS statementHash, rooms.creator AS creator,
  rooms.created_at AS createdAt, rooms.deleted_at AS deletedAt, rooms.revision AS revision,
  EXISTS (SELECT 1 FROM stays AS leaving WHERE leaving.room_id = rooms.room_id AND leaving.until_epoch = 0
    AND leaving.left_at IS NOT NULL) AS rekeyPending`;

/** The columns of a stay, selected from `stays`. */
export const stayColumns = `stays.endpoint AS endpoint, stays.sign_pub AS sign_pub, stays.kex_pub AS kex_pub,
  stays.kex_sig AS kex_sig, stays.role AS role, stays.since_epoch AS since, stays.until_epoch AS until,
  stays.handle AS handle, stays.left_at AS leftAt, stays.devices AS devices, stays.accepted_at AS acceptedAt,
  stays.added_by AS addedBy`;

/** The columns of a sealed key. */
export const keyColumns = "endpoint, epoch, sealed_key AS sealedKey, charged_to AS chargedTo";

/** The columns of a statement. */
export const statementColumns = `version, text, signed_by AS "by", sig`;

/** Selects the room that holds a subject. */
export const selectClaimant = "SELECT room_id AS roomId FROM rooms WHERE subject = ? AND claims_subject = 1";

/** Counts the live rooms of a creator. */
export const countLiveSql = "SELECT count(*) AS count FROM rooms WHERE creator = ? AND deleted_at IS NULL";

/** A row of `rooms`, as selected. */
export type RoomRow = Omit<RoomRecord, "policy" | "rekeyPending"> & {
  readonly encrypt: number;
  readonly persist: number;
  readonly signMsgs: number;
  readonly rekeyPending: number;
};

/** A row of `stays`, as selected. */
export type StayRow = Omit<StayRecord, "devices"> & { readonly devices: string };

/** Converts a row to a room record. */
export function roomOf(row: RoomRow): RoomRecord {
  return {
    roomId: row.roomId,
    subject: row.subject,
    policy: { encrypt: row.encrypt === 1, persist: row.persist === 1, sign_msgs: row.signMsgs === 1 },
    epoch: row.epoch,
    keyCheck: row.keyCheck,
    version: row.version,
    statementHash: row.statementHash,
    creator: row.creator,
    createdAt: row.createdAt,
    deletedAt: row.deletedAt,
    rekeyPending: row.rekeyPending === 1,
    revision: row.revision,
  };
}

/** Device names as one text column, separated by spaces. A device name never contains one. */
export function devicesText(devices: readonly string[]): string {
  return devices.join(" ");
}

/** The SQL parameters of a stay. */
export function stayBinding(roomId: string, stay: StayRecord): StayBinding {
  return { ...stay, devices: devicesText(stay.devices), roomId };
}

/** Converts a row to a stay record. */
export function stayOf(row: StayRow): StayRecord {
  return {
    endpoint: row.endpoint,
    sign_pub: row.sign_pub,
    kex_pub: row.kex_pub,
    kex_sig: row.kex_sig,
    role: row.role,
    since: row.since,
    until: row.until,
    handle: row.handle,
    leftAt: row.leftAt,
    devices: row.devices.split(" ").filter((device) => device !== ""),
    acceptedAt: row.acceptedAt,
    addedBy: row.addedBy,
  };
}

/** Converts a joined row to a membership. */
export function membershipOf(row: RoomRow & StayRow): Membership {
  return { room: roomOf(row), stay: stayOf(row) };
}

/** Inserts a room, which holds its subject unless it is deleted. */
export const insertRoomSql = `INSERT INTO rooms (room_id, subject, claims_subject, encrypt, persist, sign_msgs, epoch,
  key_check, version, statement_hash, creator, created_at, deleted_at, revision)
  VALUES ($roomId, $subject, $deletedAt IS NULL, $encrypt, $persist, $signMsgs, $epoch, $keyCheck, $version,
    $statementHash, $creator, $createdAt, $deletedAt, $revision)`;

/** Inserts a stay, or updates what a version changes in it. Callers append further assignments for an existing row. */
export const insertStaySql = `INSERT INTO stays
  (room_id, endpoint, since_epoch, until_epoch, sign_pub, kex_pub, kex_sig, role, handle, left_at, devices,
   accepted_at, added_by)
  VALUES ($roomId, $endpoint, $since, $until, $sign_pub, $kex_pub, $kex_sig, $role, $handle, $leftAt, $devices,
   $acceptedAt, $addedBy)
  ON CONFLICT (room_id, endpoint, since_epoch) DO UPDATE SET until_epoch = excluded.until_epoch,
    role = excluded.role`;

/** Inserts a key unless the member has one of the same epoch. */
export const addKeySql = `INSERT OR IGNORE INTO sealed_keys (room_id, endpoint, epoch, sealed_key, charged_to)
  VALUES ($roomId, $endpoint, $epoch, $sealedKey, $chargedTo)`;

/** Inserts or updates a key. Not with REPLACE, which would charge it twice. */
export const insertKeySql = `${addKeySql.replace("OR IGNORE ", "")}
  ON CONFLICT (room_id, endpoint, epoch) DO UPDATE SET sealed_key = excluded.sealed_key,
    charged_to = excluded.charged_to`;

/** Inserts or updates a statement. Not with REPLACE, which would charge it twice. */
export const insertStatementSql = `INSERT INTO statements (room_id, version, text, signed_by, sig, charged_to)
  VALUES ($roomId, $version, $text, $by, $sig, $chargedTo)
  ON CONFLICT (room_id, version) DO UPDATE SET text = excluded.text, signed_by = excluded.signed_by,
    sig = excluded.sig, charged_to = excluded.charged_to`;

/** A room as SQL parameters. */
export type RoomBinding = Omit<RoomRecord, "policy" | "rekeyPending"> & {
  readonly encrypt: boolean;
  readonly persist: boolean;
  readonly signMsgs: boolean;
};
type OfRoom<T> = Pick<T, keyof T> & { readonly roomId: string };
/** A stay as SQL parameters. */
export type StayBinding = OfRoom<StayRow>;
/** A key as SQL parameters. */
export type KeyBinding = OfRoom<SealedKeyRecord>;
/** A statement as SQL parameters. */
export type StatementBinding = OfRoom<StatementRecord> & { readonly chargedTo: string };

/** The SQL parameters of a statement. */
export function statementBinding(roomId: string, statement: StatementRecord): StatementBinding {
  return { ...statement, roomId, chargedTo: payerOf(statement) };
}

/** The SQL parameters of a room. */
export function roomBinding({ policy, rekeyPending: _, ...room }: RoomRecord): RoomBinding {
  return { ...room, encrypt: policy.encrypt, persist: policy.persist, signMsgs: policy.sign_msgs };
}
