/**
 * Conformance cases for restoring rooms that a bus lost: a restoration replaces everything above its base, keeps
 * departures and devices, and loses against a concurrent change. Used by `storeConformance`.
 */
import { describe, expect, test } from "bun:test";
import { type Head, type RoomRecord, type SnapshotRow, type StayRecord, sha256Hex } from "../../src/contracts/index.ts";
import { leaving, withDevice } from "../../src/contracts/stay-rules.ts";
import type { OpenStore, StoreUnderTest } from "./store.ts";
import {
  callers,
  change,
  epochMs,
  failure,
  keySample,
  peer,
  restorationOf,
  restorationOver,
  reviseStay,
  roomIdSample,
  roomSample,
  sealedSample,
  statementSample,
  staySample,
  upTo,
  withStore,
} from "./store-samples.ts";

const roomId = roomIdSample(1);
const owner = staySample(1, { role: "owner" });

async function current({ rooms }: StoreUnderTest): Promise<RoomRecord> {
  const room = await rooms.getRoom(roomId);
  if (room === null) throw new Error("no such room");
  return room;
}

/** A room with more statements than one statement file holds, two epochs, and a member that joined in the second. */
async function longRoom(store: StoreUnderTest): Promise<RoomRecord> {
  await store.rooms.insertRoom(roomSample(1));
  for (const n of upTo(17)) await change(store, roomId, { salt: `${n}` });
  await change(store, roomId, { rekey: true, keys: [sealedSample(1, 2)] });
  await change(store, roomId, { stays: [staySample(2, { since: 2 })], keys: [sealedSample(2, 2)] });
  return current(store);
}

const partsOf = async ({ snapshot }: StoreUnderTest): Promise<SnapshotRow[]> => Array.fromAsync(snapshot.exportAll());
const headOf = ({ version, statementHash: hash }: RoomRecord): Head => ({ version, hash });

function restoringCases(open: OpenStore): void {
  test(
    "brings a room to a later version, from which the room continues",
    withStore(open, async (store) => {
      const { rooms, wayBack } = store;
      const before = await longRoom(store);
      const restoration = restorationOver(before, 41, {
        epoch: 4,
        stays: [owner, staySample(2, { since: 2, until: 3 }), staySample(3, { since: 3 })],
        keys: [sealedSample(1, 3), sealedSample(1, 4), sealedSample(3, 3), sealedSample(3, 4)],
      });
      expect(await wayBack.restoreRoom(restoration)).toBe("restored");
      expect(await rooms.getRoom(roomId)).toEqual({ ...restoration.room, rekeyPending: false });
      expect((await rooms.listStays(roomId)).map(({ endpoint, until }) => [endpoint, until]).sort()).toEqual(
        [
          [peer(1), 0],
          [peer(2), 3],
          [peer(3), 0],
        ].sort(),
      );
      const statements = await rooms.listStatements(roomId, 1, 100);
      expect(statements.map(({ version }) => version)).toEqual(upTo(41).map((n) => n + 1));
      expect(statements.slice(20)).toEqual([...restoration.statements]);
      expect(statements[16]).toEqual(statementSample(roomId, 17, "15"));
      for (const epoch of [1, 2, 3, 4]) {
        expect(await rooms.getSealedKey(roomId, peer(1), epoch)).toEqual(sealedSample(1, epoch));
      }
      expect(await rooms.getSealedKey(roomId, peer(3), null)).toEqual(sealedSample(3, 4));
      expect(await rooms.getSealedKey(roomId, peer(2), 2)).toEqual(sealedSample(2, 2));
      expect((await rooms.listRoomsOf(peer(3))).map(({ room }) => room.roomId)).toEqual([roomId]);
      expect(await rooms.listRoomsOf(peer(2))).toEqual([]);
      await change(store, roomId, { rekey: true, stays: [staySample(3, { since: 3, until: 5 })] });
      expect((await rooms.listStatements(roomId, 40, 10)).map(({ version }) => version)).toEqual([40, 41, 42]);
      expect(await rooms.getSealedKey(roomId, peer(1), 4)).toEqual(sealedSample(1, 4));
    }),
  );

  test(
    "replaces the versions above the base, and none below it",
    withStore(open, async (store) => {
      const { rooms, wayBack } = store;
      const before = await longRoom(store);
      const restoration = restorationOver(before, 19, {
        base: { version: 17, epoch: 1 },
        epoch: 2,
        salt: "other",
        keys: [sealedSample(1, 2, "other")],
      });
      expect(await wayBack.restoreRoom(restoration)).toBe("restored");
      const statements = await rooms.listStatements(roomId, 1, 100);
      expect(statements.map(({ version }) => version)).toEqual(upTo(19).map((n) => n + 1));
      expect(statements[16]).toEqual(statementSample(roomId, 17, "15"));
      expect(statements.slice(17)).toEqual([...restoration.statements]);
      expect(await rooms.getSealedKey(roomId, peer(1), 1)).toEqual(sealedSample(1, 1));
      expect(await rooms.getSealedKey(roomId, peer(1), 2)).toEqual(sealedSample(1, 2, "other"));
      expect(await rooms.getSealedKey(roomId, peer(2), 2)).toBeNull();
      expect(await rooms.getStay(roomId, peer(2))).toBeNull();
      expect(await rooms.listRoomsOf(peer(2))).toEqual([]);
    }),
  );

  test(
    "keeps leave marks and devices; adds keys and replaces none",
    withStore(open, async (store) => {
      const { rooms, wayBack } = store;
      const before = await longRoom(store);
      await reviseStay(rooms, roomId, peer(1), withDevice("phone"));
      await reviseStay(rooms, roomId, peer(2), leaving(epochMs));
      const stays = [owner, staySample(2, { since: 2 }), staySample(3, { leftAt: 9 })];
      const keys = [sealedSample(1, 2, "other"), sealedSample(2, 1), sealedSample(3, 1)];
      expect(await wayBack.restoreRoom(restorationOver(before, before.version, { stays, keys }))).toBe("restored");
      expect(await rooms.getStay(roomId, peer(1))).toMatchObject({ devices: ["phone"], leftAt: null });
      expect(await rooms.getStay(roomId, peer(2))).toMatchObject({ leftAt: epochMs });
      expect(await rooms.getStay(roomId, peer(3))).toMatchObject({ leftAt: 9 });
      expect(await rooms.getRoom(roomId)).toEqual({ ...before, revision: before.revision + 2, rekeyPending: true });
      expect(await rooms.getSealedKey(roomId, peer(1), 2)).toEqual(sealedSample(1, 2));
      expect(await rooms.getSealedKey(roomId, peer(2), 1)).toEqual(sealedSample(2, 1));
      expect(await rooms.getSealedKey(roomId, peer(3), null)).toEqual(sealedSample(3, 1));
      expect((await rooms.listStatements(roomId, 1, 100)).length).toBe(before.version);
    }),
  );

  test(
    "creates a room that the store does not know, once",
    withStore(open, async (store) => {
      const { rooms, wayBack } = store;
      const stays = [owner, staySample(2, { until: 2 }), staySample(4)];
      const keys = [sealedSample(1, 1), sealedSample(1, 2), sealedSample(4, 2)];
      const restoration = restorationOf(roomSample(1), 35, { epoch: 2, stays, keys });
      const outcomes = await Promise.all(upTo(8).map(() => wayBack.restoreRoom(restoration)));
      expect(outcomes.filter((outcome) => outcome === "restored")).toHaveLength(1);
      expect(await rooms.getRoom(roomId)).toEqual(restoration.room);
      expect(await rooms.findRoomId(restoration.room.subject)).toBe(roomId);
      expect(await rooms.countRoomsBy(peer(1))).toBe(1);
      expect((await rooms.listStatements(roomId, 1, 100)).length).toBe(35);
      expect((await failure(rooms.insertRoom(roomSample(1)))).code).toBe("conflict");
      await change(store, roomId, { stays: [staySample(5, { since: 2 })], keys: [sealedSample(5, 2)] });
      await rooms.markDeleted(roomId, 5);
      expect(await wayBack.restoreRoom(restorationOver(await current(store), 60))).toBe("overtaken");
      await rooms.purgeRoom(roomId);
      expect(await wayBack.restoreRoom(restoration)).toBe("overtaken");
      expect((await partsOf(store)).map(({ kind }) => kind)).toEqual(["room"]);
      const other = restorationOf(roomSample(2, { subject: restoration.room.subject }), 3);
      expect(await wayBack.restoreRoom(other)).toBe("restored");
      const taken = roomSample(3, { subject: restoration.room.subject });
      expect((await failure(wayBack.restoreRoom(restorationOf(taken, 3)))).code).toBe("conflict");
      expect(await rooms.getRoom(roomIdSample(3))).toBeNull();
    }),
  );

  test(
    "replaces another room that took its id, of which nothing remains",
    withStore(open, async (store) => {
      const { rooms, wayBack } = store;
      const other = await longRoom(store);
      await reviseStay(rooms, roomId, peer(2), leaving(epochMs));
      const real = roomSample(1, {
        subject: "room.real",
        creator: peer(7),
        policy: { ...other.policy, persist: true },
      });
      const stays = [staySample(2, { since: 2 }), staySample(7, { role: "owner" })];
      const restoration = restorationOf(real, 4, { epoch: 2, salt: "real", stays, keys: [sealedSample(7, 1, "real")] });
      const expected = headOf(other);
      const taken = { ...restoration, room: { ...restoration.room, subject: roomSample(2).room.subject }, expected };
      await rooms.insertRoom(roomSample(2));
      expect((await failure(wayBack.restoreRoom(taken))).code).toBe("conflict");
      expect(await current(store)).toMatchObject({ subject: other.subject, version: other.version });
      expect(await wayBack.restoreRoom({ ...restoration, expected })).toBe("restored");
      expect(await rooms.getRoom(roomId)).toEqual({ ...restoration.room, revision: other.revision + 2 });
      expect(await rooms.listStays(roomId)).toEqual(stays.sort((a, b) => (a.endpoint < b.endpoint ? -1 : 1)));
      expect(await rooms.listStatements(roomId, 1, 100)).toEqual([...restoration.statements]);
      expect(await rooms.getSealedKey(roomId, peer(7), null)).toEqual(sealedSample(7, 1, "real"));
      expect(await rooms.getSealedKey(roomId, peer(1), null)).toBeNull();
      expect(await rooms.listRoomsOf(peer(1))).toHaveLength(1);
      expect((await rooms.listRoomsOf(peer(7))).map(({ room }) => room.subject)).toEqual(["room.real"]);
      expect([await rooms.countRoomsBy(peer(1)), await rooms.countRoomsBy(peer(7))]).toEqual([1, 1]);
      expect(await rooms.findRoomId("room.real")).toBe(roomId);
      await rooms.insertRoom(roomSample(3, { subject: other.subject }));
    }),
  );

  test(
    "counts the live rooms of a creator in the same step",
    withStore(open, async ({ rooms, wayBack }) => {
      await rooms.insertRoom(roomSample(90));
      const outcomes = await Promise.all(
        upTo(callers - 1).map((n) => wayBack.restoreRoom(restorationOf(roomSample(n), 2), 5)),
      );
      expect(outcomes.filter((outcome) => outcome === "restored")).toHaveLength(4);
      expect(outcomes.filter((outcome) => outcome === "too_many_rooms")).toHaveLength(callers - 5);
      expect(await rooms.countRoomsBy(peer(1))).toBe(5);
      const [before] = (await rooms.listRooms(null, 100)).filter(({ version }) => version === 2);
      if (before === undefined) throw new Error("none was restored");
      expect(await wayBack.restoreRoom(restorationOver(before, 3), 1)).toBe("restored");
    }),
  );

  test(
    "keeps the acceptance of existing stays, and counts new ones against the limits of their adder",
    withStore(open, async (store) => {
      const { rooms, wayBack } = store;
      const before = await longRoom(store);
      const waiting = { acceptedAt: null, addedBy: peer(9) };
      const stays = [owner, staySample(2, { since: 2, ...waiting }), staySample(3, waiting)];
      const unaccepted = { perAdder: 2, sharedFrom: 10_000 };
      expect(await wayBack.restoreRoom({ ...restorationOver(before, 21, { stays }), unaccepted })).toBe("restored");
      const known = staySample(2);
      expect(await rooms.getStay(roomId, peer(2))).toMatchObject({
        acceptedAt: known.acceptedAt,
        addedBy: known.addedBy,
      });
      expect(await rooms.getStay(roomId, peer(3))).toMatchObject(waiting);
      expect((await rooms.listRoomsOf(peer(3), { accepted: false })).map(({ room }) => room.roomId)).toEqual([roomId]);
      expect(await rooms.listRoomsOf(peer(3), { accepted: true })).toEqual([]);
      const create = (n: number) => ({ ...restorationOf(roomSample(n), 2, { stays }), unaccepted });
      expect(await wayBack.restoreRoom(create(2))).toBe("restored");
      const rows = await partsOf(store);
      expect((await failure(wayBack.restoreRoom(create(3)))).code).toBe("quota");
      expect(await partsOf(store)).toEqual(rows);
      // Its stays already exist, so restoring them again adds nothing to the count.
      const room = (await rooms.getRoom(roomIdSample(2))) as RoomRecord;
      expect(await wayBack.restoreRoom({ ...restorationOver(room, 3, { stays }), unaccepted })).toBe("restored");
    }),
  );

  test(
    "changes nothing if another change came first",
    withStore(open, async (store) => {
      const before = await longRoom(store);
      await change(store, roomId, { stays: [staySample(6, { since: 2 })], keys: [sealedSample(6, 2)] });
      const rows = await partsOf(store);
      expect(await store.wayBack.restoreRoom(restorationOver(before, 50))).toBe("overtaken");
      const otherText = { ...(await current(store)), statementHash: sha256Hex("another") };
      expect(await store.wayBack.restoreRoom(restorationOver(otherText, 50))).toBe("overtaken");
      expect(await store.wayBack.restoreRoom(restorationOver(roomSample(2).room, 50))).toBe("overtaken");
      expect(await partsOf(store)).toEqual(rows);
    }),
  );

  test(
    "of concurrent restorations of one head one wins, and a member who leaves during it has left",
    withStore(open, async (store) => {
      const { rooms, wayBack } = store;
      const before = await longRoom(store);
      const stays: StayRecord[] = [owner, staySample(2, { since: 2 })];
      const restorations = upTo(callers).map((n) =>
        wayBack.restoreRoom(restorationOver(before, 30, { salt: `${n}`, stays })),
      );
      const [outcomes, marked] = await Promise.all([
        Promise.all(restorations),
        reviseStay(rooms, roomId, peer(2), leaving(epochMs)),
      ]);
      expect(marked).toMatchObject({ leftAt: epochMs });
      expect(outcomes.filter((outcome) => outcome === "restored")).toHaveLength(1);
      const salt = `${outcomes.indexOf("restored")}`;
      const statements = await rooms.listStatements(roomId, before.version + 1, 100);
      expect(statements).toEqual(upTo(10).map((n) => statementSample(roomId, before.version + 1 + n, salt)));
      expect(await rooms.getStay(roomId, peer(2))).toMatchObject({ leftAt: epochMs });
      expect(await current(store)).toMatchObject({ version: 30, rekeyPending: true });
    }),
  );
}

function stateCases(open: OpenStore): void {
  test(
    "notes the heads when it opens, and forgets them when it opens the next time",
    withStore(open, async (store) => {
      const { rooms, wayBack } = store;
      expect(await wayBack.getWayBack()).toBeNull();
      const before = await longRoom(store);
      expect(await wayBack.getRestoredHead(roomId)).toBeNull();
      const first = { openedAt: epochMs, closesAt: epochMs + 5 };
      await wayBack.openWayBack(first);
      await rooms.insertRoom(roomSample(2));
      await change(store, roomId, {});
      expect(await wayBack.getWayBack()).toEqual(first);
      expect(await wayBack.getRestoredHead(roomId)).toEqual(headOf(before));
      expect(await wayBack.getRestoredHead(roomIdSample(2))).toBeNull();
      await wayBack.noteContested({ roomId, version: 3, hash: keySample(1), by: keySample(2), at: 7 });
      await wayBack.takeChain(roomId, keySample(1));

      const second = { openedAt: epochMs + 10, closesAt: epochMs + 15 };
      await wayBack.openWayBack(second);
      expect(await wayBack.getWayBack()).toEqual(second);
      expect(await wayBack.getRestoredHead(roomId)).toEqual(headOf(await current(store)));
      expect(await wayBack.getRestoredHead(roomIdSample(2))).toMatchObject({ version: 1 });
      expect(await wayBack.listContested()).toEqual([]);
      expect(await wayBack.getTakenChain(roomId)).toBeNull();

      await wayBack.closeWayBack();
      await wayBack.closeWayBack();
      expect(await wayBack.getWayBack()).toBeNull();
      expect(await wayBack.getRestoredHead(roomId)).toBeNull();
    }),
  );

  test(
    "keeps the first contested chains of a room, and the latest choice",
    withStore(open, async ({ wayBack }) => {
      await wayBack.openWayBack({ openedAt: epochMs, closesAt: epochMs + 5 });
      const chain = (n: number, of = roomId) => ({
        ...{ roomId: of, version: n + 1, hash: keySample(n), by: keySample(50), at: epochMs + n },
      });
      for (const n of upTo(20)) await wayBack.noteContested(chain(n));
      await wayBack.noteContested({ ...chain(3), at: 1 });
      await wayBack.noteContested(chain(30, roomIdSample(2)));
      const kept = upTo(16).map((n) => chain(n));
      kept.sort((a, b) => (a.hash < b.hash ? -1 : 1));
      expect(await wayBack.listContested()).toEqual([...kept, chain(30, roomIdSample(2))]);
      expect(await wayBack.getTakenChain(roomId)).toBeNull();
      await wayBack.takeChain(roomId, keySample(3));
      await wayBack.takeChain(roomId, keySample(19));
      expect(await wayBack.getTakenChain(roomId)).toBe(keySample(19));
      expect(await wayBack.getTakenChain(roomIdSample(2))).toBeNull();
    }),
  );

  test(
    "keeps the stays that were left and have no row",
    withStore(open, async ({ wayBack }) => {
      const stay = (n: number, since: number) => ({ roomId, endpoint: peer(n), since, leftAt: epochMs + n });
      await wayBack.denyStays([stay(1, 2), stay(2, 1), { ...stay(4, 4), roomId: roomIdSample(2) }]);
      await wayBack.denyStays([{ ...stay(1, 2), leftAt: 1 }, stay(1, 11)]);
      await wayBack.openWayBack({ openedAt: epochMs, closesAt: epochMs + 5 });
      const wanted = [stay(1, 2), stay(1, 11), stay(2, 1)];
      wanted.sort((a, b) => (a.endpoint === b.endpoint ? a.since - b.since : a.endpoint < b.endpoint ? -1 : 1));
      expect(await wayBack.listDeniedStays(roomId)).toEqual(wanted);
      expect(await wayBack.listDeniedStays(roomIdSample(3))).toEqual([]);
    }),
  );
}

/** Cases for the restore state and for restoring a room. */
export function wayBackCases(open: OpenStore): void {
  describe("way back", () => {
    stateCases(open);
  });
  describe("a restoration", () => {
    restoringCases(open);
  });
}
