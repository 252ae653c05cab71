/**
 * Conformance cases for room changes: changes are atomic and compare-and-set on the room's revision, changes of a stay
 * compare the stay, and leaves are visible at once. Used by `storeConformance`.
 */
import { describe, expect, test } from "bun:test";
import { accepting, leaving, renamed, withDevice, withoutDevice } from "../../src/contracts/stay-rules.ts";
import { devicesMax } from "../../src/wire/api.ts";
import type { OpenStore } from "./store.ts";
import {
  callers,
  change,
  changeOf,
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
const owner = staySample(1, { role: "owner" });

/** Cases for room changes and leaves. */
export function changeCases(open: OpenStore): void {
  describe("changes", () => {
    test(
      "an accepted change is visible completely",
      withStore(open, async (store) => {
        const { rooms } = store;
        await rooms.insertRoom(roomSample(1));
        const added = upTo(200).map((n) => staySample(n + 2));
        const keys = upTo(200).map((n) => sealedSample(n + 2, 1));
        const first = await change(store, roomId, { stays: added, keys });
        expect(await rooms.getRoom(roomId)).toEqual(first.room);
        const byEndpoint = [owner, ...added].sort((a, b) => (a.endpoint < b.endpoint ? -1 : 1));
        expect(await rooms.listStays(roomId)).toEqual(byEndpoint);
        for (const key of keys) expect(await rooms.getSealedKey(roomId, key.endpoint, null)).toEqual(key);

        const promoted = staySample(2, { role: "owner" });
        const second = await change(store, roomId, { stays: [promoted] });
        expect(await rooms.getStay(roomId, peer(2))).toEqual(promoted);
        expect(await rooms.listStays(roomId)).toHaveLength(201);
        expect(await rooms.listStatements(roomId, 1, 10)).toEqual([
          roomSample(1).statement,
          first.statement,
          second.statement,
        ]);
      }),
    );

    test(
      "a change based on another revision, or of a room that is not live, changes nothing",
      withStore(open, async ({ rooms }) => {
        const { room } = roomSample(1);
        await rooms.insertRoom(roomSample(1));
        const parts = { stays: [staySample(2)], keys: [sealedSample(2, 1)] };
        expect(await rooms.applyChange(changeOf({ ...room, revision: 2 }, parts))).toBe(false);
        expect(await rooms.applyChange(changeOf({ ...room, revision: 0 }, parts))).toBe(false);
        expect(await rooms.applyChange(changeOf({ ...room, roomId: roomIdSample(9) }, parts))).toBe(false);
        expect(await rooms.getRoom(roomId)).toEqual(room);
        expect(await rooms.getRoom(roomIdSample(9))).toBeNull();
        await rooms.markDeleted(roomId, 5);
        expect(await rooms.applyChange(changeOf(room, parts))).toBe(false);
        expect(await rooms.getRoom(roomId)).toMatchObject({ version: 1, deletedAt: 5 });
        for (const id of [roomId, roomIdSample(9)]) {
          expect(await rooms.getStay(id, peer(2))).toBeNull();
          expect(await rooms.getSealedKey(id, peer(2), null)).toBeNull();
          expect(await rooms.listStatements(id, 2, 10)).toEqual([]);
        }
        expect(await rooms.listRoomsOf(peer(2))).toEqual([]);
      }),
    );

    test(
      "of concurrent changes one wins, and nothing of the others remains",
      withStore(open, async ({ rooms }) => {
        const { room } = roomSample(1);
        await rooms.insertRoom(roomSample(1));
        const changes = upTo(callers).map((n) =>
          changeOf(room, {
            stays: [staySample(n + 2)],
            keys: [sealedSample(n + 2, 2), sealedSample(1, 2, `caller ${n}`)],
            rekey: true,
            salt: `caller ${n}`,
          }),
        );
        const won = await winners(changes.map((one) => rooms.applyChange(one)));
        expect(won).toHaveLength(1);
        const n = won[0] ?? -1;
        const winner = changes[n];
        expect(await rooms.getRoom(roomId)).toEqual(winner?.room ?? null);
        expect(await rooms.listStatements(roomId, 2, 10)).toEqual(winner ? [winner.statement] : []);
        expect(await rooms.getSealedKey(roomId, peer(1), null)).toEqual(sealedSample(1, 2, `caller ${n}`));
        for (const other of upTo(callers)) {
          const stay = other === n ? staySample(other + 2) : null;
          const key = other === n ? sealedSample(other + 2, 2) : null;
          expect(await rooms.getStay(roomId, peer(other + 2))).toEqual(stay);
          expect(await rooms.getSealedKey(roomId, peer(other + 2), null)).toEqual(key);
        }
        expect(await rooms.listStays(roomId)).toHaveLength(2);
      }),
    );

    test(
      "a reader never sees part of a change before its version, or a removed member after it",
      withStore(open, async (store) => {
        const { rooms } = store;
        await rooms.insertRoom(roomSample(1));
        let done = false;
        const write = async () => {
          // Version n signs out member n-1, adds member n, and raises the epoch to n.
          for (const n of upTo(22).slice(2)) {
            const gone = n > 2 ? [staySample(n - 1, { since: n - 1, until: n })] : [];
            const stays = [...gone, staySample(n, { since: n })];
            await change(store, roomId, { rekey: true, stays, keys: [sealedSample(1, n), sealedSample(n, n)] });
          }
          done = true;
        };
        const versionNow = async () => (await rooms.getRoom(roomId))?.version ?? 0;
        const look = async () => {
          const stays = await rooms.listStays(roomId);
          const key = await rooms.getSealedKey(roomId, peer(1), null);
          const newest = (await rooms.listStatements(roomId, 1, 100)).at(-1);
          const version = await versionNow();
          expect(Math.max(...stays.map(({ since }) => since))).toBeLessThanOrEqual(version);
          expect(key?.epoch ?? 0).toBeLessThanOrEqual(version);
          expect(newest?.version ?? 0).toBeLessThanOrEqual(version);
          const openNow = (await rooms.listStays(roomId)).filter(({ until }) => until === 0);
          for (const { endpoint, since } of openNow)
            if (endpoint !== peer(1)) expect(since).toBeGreaterThanOrEqual(version);
          for (const n of upTo(version).slice(2)) expect(await rooms.getStay(roomId, peer(n))).toBeNull();
        };
        const read = async () => {
          while (!done) {
            await look();
            await Bun.sleep(0);
          }
        };
        await Promise.all([write(), read(), read()]);
        await look();
        expect(await versionNow()).toBe(21);
      }),
    );

    test(
      "a leave is visible at once, and until the member is signed out",
      withStore(open, async (store) => {
        const { rooms } = store;
        await rooms.insertRoom(roomSample(1));
        await change(store, roomId, { stays: [staySample(2), staySample(3)] });
        expect([await rooms.countMembers(roomId), await rooms.countMembers(roomIdSample(9))]).toEqual([3, 0]);
        const marked = await winners(upTo(callers).map(() => reviseStay(rooms, roomId, peer(2), leaving(epochMs))));
        expect(marked).toHaveLength(1);
        expect(await rooms.getStay(roomId, peer(2))).toEqual(staySample(2, { leftAt: epochMs }));
        expect((await rooms.listStays(roomId)).filter(({ leftAt }) => leftAt !== null)).toHaveLength(1);
        expect(await rooms.listRoomsOf(peer(2))).toEqual([]);
        expect(await rooms.countMembers(roomId)).toBe(2);
        expect((await rooms.getRoom(roomId))?.rekeyPending).toBe(true);
        expect((await rooms.listRoomsOf(peer(3)))[0]?.room.rekeyPending).toBe(true);
        expect((await rooms.listRooms(null, 10))[0]?.rekeyPending).toBe(true);

        const out = staySample(2, { until: 2, leftAt: epochMs });
        await change(store, roomId, { rekey: true, stays: [out], keys: [sealedSample(1, 2), sealedSample(3, 2)] });
        expect((await rooms.getRoom(roomId))?.rekeyPending).toBe(false);
        expect(await rooms.getStay(roomId, peer(2))).toBeNull();
        expect(await rooms.countMembers(roomId)).toBe(2);
        expect(await rooms.listStays(roomId)).toContainEqual(out);
        expect(await reviseStay(rooms, roomId, peer(2), leaving(epochMs))).toBeNull();
        expect(await rooms.getSealedKey(roomId, peer(2), null)).toBeNull();
      }),
    );

    test(
      "devices belong to the open stay, each once, and no change touches them",
      withStore(open, async ({ rooms }) => {
        await rooms.insertRoom(roomSample(1));
        expect(await reviseStay(rooms, roomId, peer(9), withDevice("main"))).toBeNull();
        const first = await reviseStay(rooms, roomId, peer(1), withDevice("phone"));
        expect(first).toEqual({ ...owner, devices: ["phone"] });
        expect(await rooms.getStay(roomId, peer(1))).toEqual(first);
        const second = await reviseStay(rooms, roomId, peer(1), withDevice("main"));
        expect(second?.devices).toEqual(["main", "phone"]);
        expect(await reviseStay(rooms, roomId, peer(1), withDevice("main"))).toBeNull();
        expect((await rooms.listRoomsOf(peer(1)))[0]?.stay.devices).toEqual(["main", "phone"]);
        await reviseStay(rooms, roomId, peer(1), withoutDevice("phone"));
        await reviseStay(rooms, roomId, peer(1), withoutDevice("phone"));
        expect((await rooms.getStay(roomId, peer(1)))?.devices).toEqual(["main"]);
      }),
    );

    test(
      "a rule for a stay sees every earlier change, also with concurrent ones, and its error is passed on",
      withStore(open, async ({ rooms }) => {
        await rooms.insertRoom(roomSample(1));
        const names = ["main", ...upTo(callers).map((n) => `d${n}`)];
        const outcomes = await Promise.all(
          names.map((name) =>
            reviseStay(rooms, roomId, peer(1), withDevice(name)).then(
              () => "added",
              async (error: unknown) => (await failure(Promise.reject(error))).code,
            ),
          ),
        );
        const added = names.filter((_, n) => outcomes[n] === "added").sort();
        expect(added).toHaveLength(devicesMax);
        expect(new Set(outcomes)).toEqual(new Set(["added", "quota"]));
        expect((await rooms.getStay(roomId, peer(1)))?.devices).toEqual(added);
      }),
    );

    test(
      "a change that was prepared before a departure changes nothing",
      withStore(open, async (store) => {
        const { rooms } = store;
        await rooms.insertRoom(roomSample(1));
        const { room } = await change(store, roomId, { stays: [staySample(2)] });
        const prepared = changeOf(room, { stays: [staySample(2, { role: "owner" }), staySample(3)] });
        expect(await reviseStay(rooms, roomId, peer(2), leaving(epochMs))).not.toBeNull();
        expect(await rooms.applyChange(prepared)).toBe(false);
        expect(await rooms.getRoom(roomId)).toEqual({ ...room, revision: room.revision + 1, rekeyPending: true });
        expect(await rooms.getStay(roomId, peer(2))).toEqual(staySample(2, { leftAt: epochMs }));
        expect(await rooms.getStay(roomId, peer(3))).toBeNull();
        expect(await rooms.listStatements(roomId, 3, 10)).toEqual([]);
        await change(store, roomId, { stays: [staySample(2, { role: "owner" })] });
        expect(await rooms.getStay(roomId, peer(2))).toEqual(staySample(2, { role: "owner", leftAt: epochMs }));
        expect((await rooms.getRoom(roomId))?.rekeyPending).toBe(true);
      }),
    );

    test(
      "a change that was prepared before a member accepted, took a device or was renamed changes only what is signed",
      withStore(open, async (store) => {
        const { rooms } = store;
        await rooms.insertRoom(roomSample(1));
        const read = staySample(2, { acceptedAt: null });
        const { room } = await change(store, roomId, { stays: [read] });
        await reviseStay(rooms, roomId, peer(2), accepting(epochMs));
        await reviseStay(rooms, roomId, peer(2), withDevice("phone"));
        await reviseStay(rooms, roomId, peer(2), renamed("another"));
        expect(await rooms.getRoom(roomId)).toEqual(room);
        expect(await rooms.applyChange(changeOf(room, { stays: [{ ...read, role: "owner" }] }))).toBe(true);
        const own = { acceptedAt: epochMs, devices: ["phone"], handle: "another" };
        expect(await rooms.getStay(roomId, peer(2))).toEqual({ ...read, ...own, role: "owner" });
      }),
    );

    test(
      "a stay is replaced only as it was read, and at the revision that is given",
      withStore(open, async (store) => {
        const { rooms } = store;
        await rooms.insertRoom(roomSample(1));
        const { room } = await change(store, roomId, { stays: [staySample(2), staySample(3)] });
        const before = staySample(2);
        const after = { ...before, leftAt: epochMs };
        const others = [
          staySample(2, { role: "owner" }),
          staySample(2, { since: 2 }),
          staySample(2, { leftAt: 1 }),
          staySample(2, { acceptedAt: null }),
          staySample(2, { devices: ["main"] }),
          staySample(2, { handle: "another" }),
          staySample(9),
        ];
        for (const other of others) expect(await rooms.replaceStay(roomId, { before: other, after })).toBe(false);
        for (const revision of [room.revision - 1, room.revision + 1]) {
          expect(await rooms.replaceStay(roomId, { before, after, revision })).toBe(false);
        }
        expect(await rooms.replaceStay(roomIdSample(9), { before, after })).toBe(false);
        expect(await rooms.getStay(roomId, peer(2))).toEqual(before);
        expect(await rooms.getRoom(roomId)).toEqual(room);
        const going = upTo(callers).map(() => rooms.replaceStay(roomId, { before, after, revision: room.revision }));
        expect(await winners(going)).toHaveLength(1);
        expect(await rooms.getStay(roomId, peer(2))).toEqual(after);
        expect(await rooms.getRoom(roomId)).toEqual({ ...room, revision: room.revision + 1, rekeyPending: true });
        await rooms.markDeleted(roomId, 9);
        const third = { before: staySample(3), after: staySample(3, { leftAt: 1 }) };
        expect(await rooms.replaceStay(roomId, third)).toBe(false);
      }),
    );

    test(
      "of departures and changes at the same revision one wins, also when they concern different members",
      withStore(open, async (store) => {
        const { rooms } = store;
        await rooms.insertRoom(roomSample(1));
        const members = upTo(callers).map((n) => staySample(n + 2));
        const { room } = await change(store, roomId, { stays: members });
        const { revision } = room;
        const won = await winners(
          members.map((before, n) =>
            n % 2 === 0
              ? rooms.replaceStay(roomId, { before, after: { ...before, leftAt: epochMs }, revision })
              : rooms.applyChange(changeOf(room, { stays: [{ ...before, role: "owner" }], salt: `${n}` })),
          ),
        );
        expect(won).toHaveLength(1);
        const changed = (await rooms.listStays(roomId)).filter(
          ({ role, leftAt, endpoint }) => endpoint !== peer(1) && (role === "owner" || leftAt !== null),
        );
        expect(changed.map(({ endpoint }) => endpoint)).toEqual([peer((won[0] ?? -1) + 2)]);
        expect((await rooms.getRoom(roomId))?.revision).toBe(revision + 1);
      }),
    );

    test(
      "a member who is added again has two stays",
      withStore(open, async (store) => {
        const { rooms } = store;
        await rooms.insertRoom(roomSample(1));
        await change(store, roomId, { stays: [staySample(2)], keys: [sealedSample(2, 1)] });
        await reviseStay(rooms, roomId, peer(2), leaving(epochMs));
        const first = staySample(2, { until: 2, leftAt: epochMs });
        await change(store, roomId, { rekey: true, stays: [first] });
        const second = staySample(2, { since: 2 });
        await change(store, roomId, { stays: [second], keys: [sealedSample(2, 2)] });
        expect(await rooms.getStay(roomId, peer(2))).toEqual(second);
        const both = (await rooms.listStays(roomId)).filter(({ endpoint }) => endpoint === peer(2));
        expect(both).toEqual([first, second]);
        expect((await rooms.listRoomsOf(peer(2))).map(({ stay }) => stay)).toEqual([second]);
        expect((await rooms.getRoom(roomId))?.rekeyPending).toBe(false);
        expect(await rooms.getSealedKey(roomId, peer(2), 1)).toEqual(sealedSample(2, 1));
        expect(await rooms.getSealedKey(roomId, peer(2), null)).toEqual(sealedSample(2, 2));
      }),
    );
  });
}
