import { describe, expect, test } from "bun:test";
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
  staySample,
  upTo,
  winners,
  withStore,
} from "./store-samples.ts";

const roomId = roomIdSample(1);
const { subject } = roomSample(1).room;

/** Cases for deleting a room, step by step. */
export function deletionCases(open: OpenStore): void {
  describe("deletion", () => {
    test(
      "a mark wins once, and creates a tombstone that keeps its id and its subject",
      withStore(open, async ({ rooms }) => {
        await rooms.insertRoom(roomSample(1));
        const won = await winners(upTo(callers).map((n) => rooms.markDeleted(roomId, 100 + n)));
        expect(won).toHaveLength(1);
        expect(await reviseStay(rooms, roomId, peer(1), leaving(epochMs))).toBeNull();
        const tombstone = { ...roomSample(1).room, deletedAt: 100 + (won[0] ?? -1) };
        expect(await rooms.getRoom(roomId)).toEqual(tombstone);
        expect(await rooms.findRoomId(subject)).toBe(roomId);
        expect(await rooms.listRoomsOf(peer(1))).toEqual([]);
        expect((await failure(rooms.insertRoom(roomSample(1, { subject: "room.other" })))).code).toBe("gone");
        const claim = await failure(rooms.insertRoom(roomSample(2, { subject })));
        expect(claim).toMatchObject({ code: "conflict", message: expect.stringContaining("subject") });
      }),
    );

    test(
      "a purge keeps only the tombstone, and frees the subject",
      withStore(open, async (store) => {
        const { rooms } = store;
        await rooms.insertRoom(roomSample(1));
        await change(store, roomId, { stays: [staySample(2), staySample(3)], keys: [sealedSample(2, 1)] });
        await reviseStay(rooms, roomId, peer(3), leaving(epochMs));
        await rooms.markDeleted(roomId, 9);
        await Promise.all([rooms.purgeRoom(roomId), rooms.purgeRoom(roomId)]);
        expect(await rooms.getRoom(roomId)).toMatchObject({
          roomId,
          subject,
          version: 2,
          deletedAt: 9,
          rekeyPending: false,
        });
        expect(await rooms.listStays(roomId)).toEqual([]);
        expect(await rooms.getStay(roomId, peer(1))).toBeNull();
        expect(await rooms.getSealedKey(roomId, peer(2), null)).toBeNull();
        expect(await rooms.listStatements(roomId, 1, 10)).toEqual([]);
        expect((await failure(rooms.insertRoom(roomSample(1)))).code).toBe("gone");

        expect(await rooms.findRoomId(subject)).toBeNull();
        const heir = roomSample(2, { subject });
        await rooms.insertRoom(heir);
        await rooms.purgeRoom(roomId);
        expect(await rooms.getRoom(roomIdSample(2))).toEqual(heir.room);
        expect(await rooms.findRoomId(subject)).toBe(roomIdSample(2));
        expect((await failure(rooms.insertRoom(roomSample(3, { subject })))).code).toBe("conflict");
      }),
    );

    test(
      "a purge does nothing to a live room",
      withStore(open, async ({ rooms }) => {
        await rooms.insertRoom(roomSample(1));
        await rooms.purgeRoom(roomId);
        expect(await rooms.getRoom(roomId)).toEqual(roomSample(1).room);
        expect(await rooms.listStays(roomId)).toEqual([roomSample(1).stay]);
        expect((await failure(rooms.insertRoom(roomSample(2, { subject })))).code).toBe("conflict");
      }),
    );

    test(
      "of many rooms exactly one gets a freed subject",
      withStore(open, async ({ rooms }) => {
        await rooms.insertRoom(roomSample(1));
        await rooms.markDeleted(roomId, 9);
        await rooms.purgeRoom(roomId);
        const won = await winners(upTo(callers).map((n) => rooms.insertRoom(roomSample(n + 2, { subject }))));
        expect(won).toHaveLength(1);
      }),
    );
  });
}
