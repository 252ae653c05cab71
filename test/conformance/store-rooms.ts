/**
 * Conformance cases for creating and reading rooms: ids and subjects are unique under races, a creator's room limit
 * holds, and lists are ordered and paged. Used by `storeConformance`.
 */
import { describe, expect, test } from "bun:test";
import type { RoomRecord } from "../../src/contracts/index.ts";
import { leaving } from "../../src/contracts/stay-rules.ts";
import type { OpenStore } from "./store.ts";
import {
  callers,
  change,
  epochMs,
  failure,
  peer,
  reviseStay,
  roomIdSample,
  roomSample,
  sealedSample,
  statementSample,
  staySample,
  upTo,
  winners,
  withStore,
} from "./store-samples.ts";

/** Cases for creating and reading rooms. */
export function roomCases(open: OpenStore): void {
  describe("rooms", () => {
    test(
      "every field is stored and returned, under every policy",
      withStore(open, async ({ rooms }) => {
        for (const n of upTo(8)) {
          const policy = { encrypt: (n & 1) > 0, persist: (n & 2) > 0, sign_msgs: (n & 4) > 0 };
          const made = roomSample(n, { policy, creator: peer(n) });
          const { room, stay, statement } = made;
          const keys = policy.encrypt ? made.keys : [];
          await rooms.insertRoom({ room, stay, keys, statement });
          expect(await rooms.getRoom(room.roomId)).toEqual(room);
          expect(await rooms.findRoomId(room.subject)).toBe(room.roomId);
          expect(await rooms.getStay(room.roomId, stay.endpoint)).toEqual(stay);
          expect(await rooms.listStays(room.roomId)).toEqual([stay]);
          expect(await rooms.listStatements(room.roomId, 1, 10)).toEqual([statement]);
          const key = policy.encrypt ? sealedSample(1, 1) : null;
          expect(await rooms.getSealedKey(room.roomId, stay.endpoint, 1)).toEqual(key);
          expect(await rooms.getSealedKey(room.roomId, stay.endpoint, null)).toEqual(key);
        }
      }),
    );

    test(
      "a miss returns null, false or an empty list",
      withStore(open, async (store) => {
        const { rooms } = store;
        const nowhere = roomIdSample(1);
        for (const roomId of [nowhere, roomIdSample(2)]) {
          if (roomId !== nowhere) await rooms.insertRoom(roomSample(2));
          expect(await rooms.getStay(roomId, peer(9))).toBeNull();
          expect(await rooms.getSealedKey(roomId, peer(9), null)).toBeNull();
          expect(await rooms.getSealedKey(roomId, peer(1), 2)).toBeNull();
          expect(await reviseStay(rooms, roomId, peer(9), leaving(epochMs))).toBeNull();
          expect(await rooms.listStatements(roomId, 2, 10)).toEqual([]);
        }
        expect(await rooms.getRoom(nowhere)).toBeNull();
        expect(await rooms.findRoomId("room.number-1")).toBeNull();
        expect(await rooms.listStays(nowhere)).toEqual([]);
        expect(await rooms.listRoomsOf(peer(9))).toEqual([]);
        expect(await rooms.countRoomsBy(peer(9))).toBe(0);
        expect(await rooms.markDeleted(nowhere, 1)).toBe(false);
        await rooms.purgeRoom(nowhere);
        expect(await rooms.getRoom(nowhere)).toBeNull();
      }),
    );

    test(
      "a taken id or subject conflicts by name, and nothing of the loser remains",
      withStore(open, async ({ rooms }) => {
        const first = roomSample(1);
        await rooms.insertRoom(first);
        const sameId = { ...roomSample(1, { subject: "room.other" }), stay: staySample(5, { role: "owner" }) };
        const byId = await failure(rooms.insertRoom(sameId));
        expect(byId).toMatchObject({ code: "conflict", message: expect.stringContaining("room id") });
        const sameSubject = roomSample(2, { subject: first.room.subject });
        const bySubject = await failure(rooms.insertRoom(sameSubject));
        expect(bySubject).toMatchObject({ code: "conflict", message: expect.stringContaining("subject") });

        expect(await rooms.getRoom(roomIdSample(1))).toEqual(first.room);
        expect(await rooms.listStays(roomIdSample(1))).toEqual([first.stay]);
        expect(await rooms.getRoom(roomIdSample(2))).toBeNull();
        expect(await rooms.listStays(roomIdSample(2))).toEqual([]);
        expect(await rooms.listStatements(roomIdSample(2), 1, 10)).toEqual([]);
        expect(await rooms.getSealedKey(roomIdSample(2), peer(1), null)).toBeNull();
        expect(await rooms.listRoomsOf(peer(5))).toEqual([]);
        await rooms.insertRoom(roomSample(3, { subject: "room.other" }));
      }),
    );

    test(
      "of many rooms exactly one gets a subject",
      withStore(open, async ({ rooms }) => {
        const subject = "room.wanted";
        const won = await winners(upTo(callers).map((n) => rooms.insertRoom(roomSample(n, { subject }))));
        expect(won).toHaveLength(1);
        const all = await rooms.listRooms(null, 100);
        expect(all).toEqual([roomSample(won[0] ?? -1, { subject }).room]);
        expect(await rooms.findRoomId(subject)).toBe(roomIdSample(won[0] ?? -1));
      }),
    );

    test(
      "of many rooms exactly one gets an id, and the subjects of the others stay free",
      withStore(open, async ({ rooms }) => {
        const roomId = roomIdSample(1_000);
        const won = await winners(upTo(callers).map((n) => rooms.insertRoom(roomSample(n, { roomId }))));
        expect(won).toHaveLength(1);
        const again = await winners(upTo(callers).map((n) => rooms.insertRoom(roomSample(n))));
        expect(again).toEqual(upTo(callers).filter((n) => n !== won[0]));
      }),
    );

    test(
      "the rooms of a member are live, open and not left, by room id",
      withStore(open, async (store) => {
        const { rooms } = store;
        for (const n of [5, 3, 4, 1, 2, 6]) {
          await rooms.insertRoom(roomSample(n));
          await change(store, roomIdSample(n), { stays: [staySample(2)] });
        }
        await rooms.insertRoom(roomSample(7));
        await reviseStay(rooms, roomIdSample(2), peer(2), leaving(epochMs));
        await rooms.markDeleted(roomIdSample(3), 1);
        await change(store, roomIdSample(4), { stays: [staySample(2, { until: 2 })], rekey: true });
        await reviseStay(rooms, roomIdSample(5), peer(1), leaving(epochMs));
        const found = await rooms.listRoomsOf(peer(2));
        expect(found.map(({ room }) => room.roomId)).toEqual([1, 5, 6].map(roomIdSample));
        for (const { room, stay } of found) {
          expect(await rooms.getRoom(room.roomId)).toEqual(room);
          expect(stay).toEqual(staySample(2));
        }
        expect(found.map(({ room }) => room.rekeyPending)).toEqual([false, true, false]);
      }),
    );

    test(
      "the rooms of a creator are counted while they are live",
      withStore(open, async ({ rooms }) => {
        for (const n of upTo(4)) await rooms.insertRoom(roomSample(n, { creator: peer(n === 3 ? 2 : 1) }));
        expect(await rooms.countRoomsBy(peer(1))).toBe(3);
        await rooms.markDeleted(roomIdSample(1), 1);
        expect(await rooms.countRoomsBy(peer(1))).toBe(2);
        await rooms.purgeRoom(roomIdSample(1));
        expect(await rooms.countRoomsBy(peer(1))).toBe(2);
        expect(await rooms.countRoomsBy(peer(2))).toBe(1);
      }),
    );

    test(
      "a creator's rooms stop at the limit, even when added concurrently; a deletion makes room",
      withStore(open, async ({ rooms }) => {
        await rooms.insertRoom(roomSample(100, { creator: peer(2) }));
        const won = await winners(upTo(callers).map((n) => rooms.insertRoom(roomSample(n), 5)));
        expect(won).toHaveLength(5);
        expect(await rooms.countRoomsBy(peer(1))).toBe(5);
        const lost = upTo(callers).find((n) => !won.includes(n)) ?? 0;
        expect(await rooms.getRoom(roomIdSample(lost))).toBeNull();
        expect(await rooms.findRoomId(roomSample(lost).room.subject)).toBeNull();
        // A conflict is reported before the limit, and does not count towards it.
        expect((await failure(rooms.insertRoom(roomSample(won[0] ?? 0), 5))).code).toBe("conflict");
        expect(await rooms.insertRoom(roomSample(lost), 5)).toBe(false);
        await rooms.markDeleted(roomIdSample(won[0] ?? 0), 5);
        expect(await rooms.insertRoom(roomSample(lost), 5)).toBe(true);
        expect(await rooms.insertRoom(roomSample(101, { creator: peer(2) }), 2)).toBe(true);
      }),
    );

    test(
      "a room that lost its id or subject does not count for its creator",
      withStore(open, async ({ rooms }) => {
        const { subject } = roomSample(1).room;
        await rooms.insertRoom(roomSample(1));
        for (const n of [2, 3]) {
          const taken = roomSample(n, { creator: peer(2), subject });
          expect((await failure(rooms.insertRoom(taken, 1))).code).toBe("conflict");
        }
        expect(await rooms.countRoomsBy(peer(2))).toBe(0);
        expect(await rooms.insertRoom(roomSample(4, { creator: peer(2) }), 1)).toBe(true);
      }),
    );

    test(
      "numbers are ordered as numbers: keys, statements and stays",
      withStore(open, async (store) => {
        const { rooms } = store;
        const roomId = roomIdSample(1);
        await rooms.insertRoom(roomSample(1));
        for (const epoch of upTo(13).slice(2)) {
          const open = staySample(2, { since: epoch });
          const closed = epoch > 2 ? [staySample(2, { since: epoch - 1, until: epoch })] : [];
          await change(store, roomId, { rekey: true, stays: [...closed, open], keys: [sealedSample(1, epoch)] });
        }
        expect(await rooms.getSealedKey(roomId, peer(1), null)).toEqual(sealedSample(1, 12));
        expect(await rooms.getSealedKey(roomId, peer(1), 9)).toEqual(sealedSample(1, 9));
        const versions = (await rooms.listStatements(roomId, 8, 4)).map((statement) => statement.version);
        expect(versions).toEqual([8, 9, 10, 11]);
        expect(await rooms.listStatements(roomId, 12, 100)).toEqual([statementSample(roomId, 12)]);
        const sinces = (await rooms.listStays(roomId)).filter(({ endpoint }) => endpoint === peer(2));
        expect(sinces.map(({ since }) => since)).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
      }),
    );

    test(
      "a list contains tombstones too, by room id, page by page",
      withStore(open, async ({ rooms }) => {
        for (const n of [3, 1, 2, 5, 4]) await rooms.insertRoom(roomSample(n));
        await rooms.markDeleted(roomIdSample(2), 77);
        await rooms.purgeRoom(roomIdSample(2));
        await rooms.markDeleted(roomIdSample(4), 78);
        const paged: RoomRecord[] = [];
        for (let after: string | null = null; ; ) {
          const page: RoomRecord[] = await rooms.listRooms(after, 2);
          paged.push(...page);
          after = page.at(-1)?.roomId ?? null;
          if (after === null) break;
          expect(page.length).toBeLessThanOrEqual(2);
        }
        expect(paged.map(({ roomId }) => roomId)).toEqual([1, 2, 3, 4, 5].map(roomIdSample));
        expect(paged.map(({ deletedAt }) => deletedAt)).toEqual([null, 77, null, 78, null]);
        expect(await rooms.listRooms(roomIdSample(4), 100)).toEqual([roomSample(5).room]);
      }),
    );
  });
}
