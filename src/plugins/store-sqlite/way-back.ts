/**
 * Implements `WayBackStore` in SQLite: the state of the way back (after a restore from an older backup, owners may
 * bring back newer versions of their rooms), and the restoration of one room. A restoration is one transaction: check
 * the expected head, cut everything above the common base, then write the new parts. It keeps what the store knows of
 * each stay (see `keptStay`).
 */
import { keptStay } from "../../contracts/stay-rules.ts";
import type { RoomRecord, StayRecord } from "../../contracts/store.ts";
import { takenSubject } from "../../contracts/taken.ts";
import { unacceptedQuota } from "../../contracts/unaccepted.ts";
import {
  type ContestedChain,
  contestedMax,
  type DeniedStay,
  type Head,
  type RestorationOutcome,
  type WayBack,
  type WayBackStore,
} from "../../contracts/way-back.ts";
import type { Database } from "./database.ts";
import {
  addKeySql,
  countLiveSql,
  insertRoomSql,
  insertStatementSql,
  insertStaySql,
  type KeyBinding,
  type RoomBinding,
  roomBinding,
  type StatementBinding,
  type StayBinding,
  type StayRow,
  selectClaimant,
  statementBinding,
  stayBinding,
  stayColumns,
  stayOf,
} from "./room-rows.ts";
import { createUnacceptedCheck } from "./rooms.ts";

/** A type alias of the same fields: bun:sqlite does not accept an interface as parameters. */
type Plain<T> = Pick<T, keyof T>;

type Restoring = Pick<WayBackStore, "restoreRoom">;

const stayName = ({ endpoint, since }: Pick<StayRecord, "endpoint" | "since">): string => `${endpoint} ${since}`;

function createRestoring({ native, write }: Database): Restoring {
  const known = native.prepare<{ found: 1 }, [string]>("SELECT 1 AS found FROM rooms WHERE room_id = ?");
  const claimant = native.prepare<{ roomId: string }, [string]>(selectClaimant);
  const liveBy = native.prepare<{ count: number }, [string]>(countLiveSql);
  const insertRoom = native.prepare<never, [RoomBinding]>(insertRoomSql);
  type Replacement = Omit<RoomBinding, "revision"> & {
    readonly expectedVersion: number;
    readonly expectedHash: string;
  };
  const replace = native.prepare<never, [Replacement]>(
    `UPDATE rooms SET subject = $subject, encrypt = $encrypt, persist = $persist, sign_msgs = $signMsgs,
       creator = $creator, created_at = $createdAt, deleted_at = $deletedAt, epoch = $epoch, key_check = $keyCheck,
       version = $version, statement_hash = $statementHash,
       revision = revision + 1
     WHERE room_id = $roomId AND version = $expectedVersion AND statement_hash = $expectedHash AND deleted_at IS NULL`,
  );
  const cutStatements = native.prepare<never, [string, number]>(
    "DELETE FROM statements WHERE room_id = ? AND version > ?",
  );
  const cutKeys = native.prepare<never, [string, number]>("DELETE FROM sealed_keys WHERE room_id = ? AND epoch > ?");
  const stays = native.prepare<StayRow, [string]>(`SELECT ${stayColumns} FROM stays WHERE room_id = ?`);
  const cutStays = native.prepare<never, [string]>("DELETE FROM stays WHERE room_id = ?");
  const putStay = native.prepare<never, [StayBinding]>(insertStaySql);
  const addKey = native.prepare<never, [KeyBinding]>(addKeySql);
  const putStatement = native.prepare<never, [StatementBinding]>(insertStatementSql);
  const isOver = createUnacceptedCheck(native);

  const checkSubject = ({ roomId, subject }: RoomRecord): void => {
    const holder = claimant.get(subject)?.roomId;
    if (holder !== undefined && holder !== roomId) throw takenSubject(subject);
  };

  return {
    restoreRoom({ room, expected, base, unaccepted, ...parts }, liveMax = Number.POSITIVE_INFINITY) {
      const { roomId, creator } = room;
      return write((): RestorationOutcome => {
        if (expected === null) {
          if (known.get(roomId)) return "overtaken";
          checkSubject(room);
          if ((liveBy.get(creator)?.count ?? 0) >= liveMax) return "too_many_rooms";
          insertRoom.run(roomBinding(room));
        } else {
          const { version: expectedVersion, hash: expectedHash } = expected;
          checkSubject(room);
          const { revision: _, ...next } = { ...roomBinding(room), expectedVersion, expectedHash };
          if (replace.run(next).changes === 0) return "overtaken";
        }
        cutStatements.run(roomId, base.version);
        cutKeys.run(roomId, base.epoch);
        const kept = base.version === 0 ? [] : stays.all(roomId);
        const before = new Map(kept.map((row) => [stayName(row), stayOf(row)]));
        const added = parts.stays.filter((stay) => stay.until === 0 && !before.has(stayName(stay)));
        const refused = unaccepted && added.find((stay) => isOver(stay, unaccepted));
        if (refused) throw unacceptedQuota(refused.endpoint);
        cutStays.run(roomId);
        for (const stay of parts.stays) putStay.run(stayBinding(roomId, keptStay(before.get(stayName(stay)), stay)));
        for (const key of parts.keys) addKey.run({ ...key, roomId });
        for (const statement of parts.statements) putStatement.run(statementBinding(roomId, statement));
        return "restored";
      });
    },
  };
}

/** Implements the way back in SQLite. */
export function createWayBack(database: Database): WayBackStore {
  const { native, read, write } = database;
  const state = native.prepare<WayBack, []>("SELECT opened_at AS openedAt, closes_at AS closesAt FROM way_back");
  const open = native.prepare<never, [Plain<WayBack>]>(
    "INSERT OR REPLACE INTO way_back (id, opened_at, closes_at) VALUES (1, $openedAt, $closesAt)",
  );
  const close = native.prepare<never, []>("DELETE FROM way_back");
  const forget = ["restored_heads", "contested_chains", "taken_chains"].map((table) =>
    native.prepare<never, []>(`DELETE FROM ${table}`),
  );
  const noteHeads = native.prepare<never, []>(
    `INSERT INTO restored_heads (room_id, version, hash)
     SELECT room_id, version, statement_hash FROM rooms WHERE deleted_at IS NULL`,
  );
  const head = native.prepare<Head, [string]>("SELECT version, hash FROM restored_heads WHERE room_id = ?");
  const deny = native.prepare<never, [Plain<DeniedStay>]>(
    `INSERT OR IGNORE INTO denied_stays (room_id, endpoint, since_epoch, left_at)
     VALUES ($roomId, $endpoint, $since, $leftAt)`,
  );
  const denied = native.prepare<DeniedStay, [string]>(
    `SELECT room_id AS roomId, endpoint, since_epoch AS since, left_at AS leftAt FROM denied_stays
     WHERE room_id = ? ORDER BY endpoint, since_epoch`,
  );
  const contest = native.prepare<never, [Plain<ContestedChain> & { readonly max: number }]>(
    `INSERT OR IGNORE INTO contested_chains (room_id, hash, version, offered_by, offered_at)
     SELECT $roomId, $hash, $version, $by, $at
     WHERE (SELECT count(*) FROM contested_chains WHERE room_id = $roomId) < $max`,
  );
  const contested = native.prepare<ContestedChain, []>(
    `SELECT room_id AS roomId, hash, version, offered_by AS "by", offered_at AS "at" FROM contested_chains
     ORDER BY room_id, hash`,
  );
  const take = native.prepare<never, [string, string]>(
    "INSERT OR REPLACE INTO taken_chains (room_id, hash) VALUES (?, ?)",
  );
  const taken = native.prepare<{ hash: string }, [string]>("SELECT hash FROM taken_chains WHERE room_id = ?");

  return {
    ...createRestoring(database),
    getWayBack: async () => read(() => state.get()),
    async openWayBack({ openedAt, closesAt }) {
      await write(() => {
        for (const table of forget) table.run();
        noteHeads.run();
        open.run({ openedAt, closesAt });
      });
    },
    async closeWayBack() {
      await write(() => {
        for (const table of forget) table.run();
        close.run();
      });
    },
    getRestoredHead: async (roomId) => read(() => head.get(roomId)),
    async denyStays(stays) {
      await write(() => {
        for (const { roomId, endpoint, since, leftAt } of stays) deny.run({ roomId, endpoint, since, leftAt });
      });
    },
    listDeniedStays: async (roomId) => read(() => denied.all(roomId)),
    async noteContested({ roomId, hash, version, by, at }) {
      await write(() => contest.run({ roomId, hash, version, by, at, max: contestedMax }));
    },
    listContested: async () => read(() => contested.all()),
    async takeChain(roomId, hash) {
      await write(() => take.run(roomId, hash));
    },
    getTakenChain: async (roomId) => (await read(() => taken.get(roomId)))?.hash ?? null,
  };
}
