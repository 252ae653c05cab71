/**
 * Conformance cases for accepting memberships: a stay counts as unaccepted until its member accepts it, and each adder
 * and each member is limited in unaccepted stays, also when many are added at once. Used by `storeConformance`.
 */
import { describe, expect, test } from "bun:test";
import { accepting, leaving } from "../../src/contracts/stay-rules.ts";
import type { RoomChange, StayRecord } from "../../src/contracts/store.ts";
import type { OpenStore, StoreUnderTest } from "./store.ts";
import {
  change,
  changeOf,
  epochMs,
  failure,
  peer,
  reviseStay,
  roomIdSample,
  roomSample,
  staySample,
  upTo,
  withStore,
} from "./store-samples.ts";

/** The stay of a peer that another peer added. */
const addedStay = (n: number, adder: number): StayRecord => staySample(n, { acceptedAt: null, addedBy: peer(adder) });

/** Rooms of peer 1, each with a change ready that adds peer 2 on behalf of an adder. */
async function roomsThatAdd(
  { rooms }: StoreUnderTest,
  numbers: readonly number[],
  adder: number,
  unaccepted: RoomChange["unaccepted"],
): Promise<RoomChange[]> {
  const made = numbers.map((n) => roomSample(n));
  for (const room of made) await rooms.insertRoom(room);
  return made.map(({ room }) => ({
    ...changeOf(room, { stays: [addedStay(2, adder)] }),
    ...(unaccepted && { unaccepted }),
  }));
}

const idsOf = async ({ rooms }: StoreUnderTest, accepted?: boolean): Promise<string[]> =>
  (await rooms.listRoomsOf(peer(2), accepted === undefined ? {} : { accepted })).map(({ room }) => room.roomId);

/** Cases for stays that their member accepts, and for the limits on unaccepted stays. */
export function acceptanceCases(open: OpenStore): void {
  describe("acceptance", () => {
    test(
      "a stay is unaccepted until its member accepts it, once, whatever else changes in the room",
      withStore(open, async (store) => {
        const { rooms } = store;
        const roomId = roomIdSample(1);
        await rooms.insertRoom(roomSample(1));
        await change(store, roomId, { stays: [addedStay(2, 1)] });
        expect(await rooms.getStay(roomId, peer(2))).toEqual(addedStay(2, 1));
        expect(await idsOf(store)).toEqual([roomId]);
        expect(await idsOf(store, true)).toEqual([]);
        expect(await idsOf(store, false)).toEqual([roomId]);

        const accepted = await reviseStay(rooms, roomId, peer(2), accepting(epochMs + 5));
        expect(accepted?.acceptedAt).toBe(epochMs + 5);
        expect(await reviseStay(rooms, roomId, peer(2), accepting(epochMs + 9))).toBeNull();
        expect(await idsOf(store, true)).toEqual([roomId]);
        expect(await idsOf(store, false)).toEqual([]);

        // A change that was prepared before the acceptance must not undo it.
        await change(store, roomId, { stays: [{ ...addedStay(2, 7), role: "owner" }] });
        const { acceptedAt, addedBy, role } = (await rooms.getStay(roomId, peer(2))) ?? staySample(9);
        expect({ acceptedAt, addedBy, role }).toEqual({ acceptedAt: epochMs + 5, addedBy: peer(1), role: "owner" });
        expect(await idsOf(store, true)).toEqual([roomId]);
      }),
    );

    test(
      "a member who left cannot accept, and a new stay needs a new acceptance",
      withStore(open, async (store) => {
        const { rooms } = store;
        const roomId = roomIdSample(1);
        await rooms.insertRoom(roomSample(1));
        await change(store, roomId, { stays: [addedStay(2, 1)] });
        await reviseStay(rooms, roomId, peer(2), accepting(epochMs));
        await reviseStay(rooms, roomId, peer(2), leaving(epochMs + 1));
        expect(await reviseStay(rooms, roomId, peer(2), accepting(epochMs + 2))).toBeNull();
        expect(await idsOf(store, true)).toEqual([]);

        await change(store, roomId, { stays: [{ ...addedStay(2, 1), until: 2 }], rekey: true });
        await change(store, roomId, { stays: [{ ...addedStay(2, 1), since: 2 }] });
        expect(await idsOf(store, true)).toEqual([]);
        expect(await idsOf(store, false)).toEqual([roomId]);
        expect(await reviseStay(rooms, roomId, peer(2), accepting(epochMs + 3))).not.toBeNull();
        expect(await idsOf(store, true)).toEqual([roomId]);
        const stays = (await rooms.listStays(roomId)).filter(({ endpoint }) => endpoint === peer(2));
        expect(stays.map(({ acceptedAt }) => acceptedAt)).toEqual([epochMs, epochMs + 3]);
      }),
    );

    test(
      "the rooms of a member are listed in pages",
      withStore(open, async (store) => {
        const { rooms } = store;
        const ids = upTo(9).map((n) => roomIdSample(n + 1));
        for (const made of await roomsThatAdd(
          store,
          upTo(9).map((n) => n + 1),
          1,
          undefined,
        )) {
          expect(await rooms.applyChange(made)).toBe(true);
        }
        for (const roomId of ids.slice(0, 4)) await reviseStay(rooms, roomId, peer(2), accepting(epochMs));
        await reviseStay(rooms, ids[1] ?? "", peer(2), leaving(epochMs));
        const page = async (options: Parameters<typeof rooms.listRoomsOf>[1]) =>
          (await rooms.listRoomsOf(peer(2), options)).map(({ room }) => room.roomId);
        const left = ids.filter((_, index) => index !== 1);
        expect(await page({ limit: 3 })).toEqual(left.slice(0, 3));
        expect(await page({ after: left[2] ?? null, limit: 3 })).toEqual(left.slice(3, 6));
        expect(await page({ after: left[5] ?? null, limit: 3 })).toEqual(left.slice(6));
        expect(await page({ after: ids[8] ?? null, limit: 3 })).toEqual([]);
        expect(await page({ after: ids[1] ?? null, accepted: true })).toEqual(ids.slice(2, 4));
        expect(await page({ accepted: false, limit: 2 })).toEqual(ids.slice(4, 6));
      }),
    );

    test(
      "of many concurrent adds by one adder as many are taken as the limit allows",
      withStore(open, async (store) => {
        const { rooms } = store;
        const limits = { perAdder: 3, sharedFrom: 1_000 };
        const adds = await roomsThatAdd(
          store,
          upTo(8).map((n) => n + 1),
          1,
          limits,
        );
        const ends = await Promise.allSettled(adds.map((one) => rooms.applyChange(one)));
        expect(ends.filter(({ status }) => status === "fulfilled")).toHaveLength(3);
        for (const end of ends) if (end.status === "rejected") expect(end.reason).toMatchObject({ code: "quota" });
        const waiting = await idsOf(store, false);
        expect(waiting).toHaveLength(3);

        // A refused add stores nothing; accepting, leaving or deleting frees a place for another.
        const refused = adds.filter(({ room }) => !waiting.includes(room.roomId));
        for (const { room } of refused) expect((await rooms.getRoom(room.roomId))?.version).toBe(1);
        const retry = async (): Promise<unknown> => rooms.applyChange(refused.pop() ?? (adds[0] as RoomChange));
        await reviseStay(rooms, waiting[0] ?? "", peer(2), accepting(epochMs));
        expect(await retry()).toBe(true);
        await reviseStay(rooms, waiting[1] ?? "", peer(2), leaving(epochMs));
        await change(store, waiting[1] ?? "", { stays: [{ ...addedStay(2, 1), until: 2 }], rekey: true });
        expect(await retry()).toBe(true);
        await rooms.markDeleted(waiting[2] ?? "", epochMs);
        await rooms.purgeRoom(waiting[2] ?? "");
        expect(await retry()).toBe(true);
        expect((await failure(retry() as Promise<unknown>)).code).toBe("quota");
      }),
    );

    test(
      "with very many unaccepted rooms each adder has an equal share, and a new adder always gets in",
      withStore(open, async (store) => {
        const { rooms } = store;
        const limits = { perAdder: 5, sharedFrom: 6 };
        const add = async (numbers: readonly number[], adder: number) => {
          for (const one of await roomsThatAdd(store, numbers, adder, limits)) {
            expect(await rooms.applyChange(one)).toBe(true);
          }
        };
        await add([11, 12, 13, 14], 11);
        await add([21, 22], 12);
        const [over] = await roomsThatAdd(store, [15], 11, limits);
        if (over === undefined) throw new Error("no change");
        expect((await failure(rooms.applyChange(over))).code).toBe("quota");
        // Two adders: each may have three.
        await add([23], 12);
        await add([31], 13);
        // Three adders: each may have two, and the third has used one.
        await add([32], 13);
        const [more] = await roomsThatAdd(store, [33], 13, limits);
        if (more === undefined) throw new Error("no change");
        expect((await failure(rooms.applyChange(more))).code).toBe("quota");
        await add([41], 14);
      }),
    );
  });
}
