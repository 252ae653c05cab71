/**
 * Conformance cases for exports, imports and backups: an import makes an equal store, can be repeated and completed
 * after an interruption, and an abandoned export does not block the store. Used by `storeConformance`.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Snapshot, SnapshotRow } from "../../src/contracts/index.ts";
import { leaving } from "../../src/contracts/stay-rules.ts";
import type { OpenStore, StoreUnderTest } from "./store.ts";
import {
  change,
  epochMs,
  failure,
  inviteSample,
  keySample,
  peer,
  reviseStay,
  roomIdSample,
  roomSample,
  sealedSample,
  staySample,
  upTo,
  userSample,
  withStore,
} from "./store-samples.ts";

const exported = (snapshot: Snapshot): Promise<SnapshotRow[]> => Array.fromAsync(snapshot.exportAll());

/** Stores one of everything that a store can hold. */
async function fill(store: StoreUnderTest): Promise<void> {
  const { users, invites, rooms } = store;
  await users.insertUser(userSample(1, { role: "admin" }));
  await users.insertUser(userSample(2, { kexPub: null, kexSig: null }));
  await users.insertUser(userSample(3, { role: "admin", status: "revoked", revokedAt: 4 }));
  await users.insertUser(userSample(4, { role: "admin" }));
  await invites.insertInvite(inviteSample(1));
  await invites.insertInvite(inviteSample(2));
  await invites.claimInvite(inviteSample(2).id, { signPub: keySample(2), kexPub: keySample(3), at: 7 });
  for (const n of upTo(4)) await rooms.insertRoom(roomSample(n));
  const busy = roomIdSample(1);
  await change(store, busy, { stays: [staySample(2), staySample(3)], keys: [sealedSample(2, 1), sealedSample(3, 1)] });
  await change(store, busy, { rekey: true, stays: [staySample(2, { until: 2 })], keys: [sealedSample(1, 2)] });
  await change(store, busy, { stays: [staySample(2, { since: 2 })], keys: [sealedSample(2, 2)] });
  await reviseStay(rooms, busy, peer(3), leaving(epochMs));
  await rooms.markDeleted(roomIdSample(2), 50);
  await rooms.markDeleted(roomIdSample(3), 60);
  await rooms.purgeRoom(roomIdSample(3));
  await rooms.insertRoom(roomSample(9, { subject: roomSample(3).room.subject }));
}

const nameOf = (row: SnapshotRow): string => {
  switch (row.kind) {
    case "user":
      return `1 ${row.user.signPub}`;
    case "invite":
      return `2 ${row.invite.id}`;
    case "room":
      return `3 ${row.room.roomId}`;
    case "stay":
      return `3 ${row.roomId} 1 ${row.stay.endpoint} ${row.stay.since}`;
    case "key":
      return `3 ${row.roomId} 2 ${row.key.endpoint} ${row.key.epoch}`;
    case "statement":
      return `3 ${row.roomId} 3 ${row.statement.version}`;
  }
};

/** Cases for exports, imports and backups. */
export function snapshotCases(open: OpenStore): void {
  describe("snapshot", () => {
    test(
      "an export contains every row in order, and that of an empty store none",
      withStore(open, async (store) => {
        expect(await exported(store.snapshot)).toEqual([]);
        await fill(store);
        const rows = await exported(store.snapshot);
        expect(rows.map(nameOf)).toEqual(rows.map(nameOf).sort());
        const counts = Object.fromEntries(
          ["user", "invite", "room", "stay", "key", "statement"].map((kind) => [
            kind,
            rows.filter((row) => row.kind === kind).length,
          ]),
        );
        expect(counts).toEqual({ user: 4, invite: 2, room: 5, stay: 7, key: 8, statement: 7 });
        expect(rows).toContainEqual({ kind: "user", user: userSample(2, { kexPub: null, kexSig: null }) });
        const left = staySample(3, { leftAt: epochMs });
        expect(rows).toContainEqual({ kind: "stay", roomId: roomIdSample(1), stay: left });
      }),
    );

    test(
      "an import creates an equal store, however often it runs",
      withStore(open, async (from) => {
        await fill(from);
        const rows = await exported(from.snapshot);
        await withStore(open, async (to) => {
          await to.snapshot.importAll(from.snapshot.exportAll());
          expect(await exported(to.snapshot)).toEqual(rows);
          await to.snapshot.importAll(rows);
          expect(await exported(to.snapshot)).toEqual(rows);
        })();
        expect(await exported(from.snapshot)).toEqual(rows);
      }),
    );

    test(
      "an imported store satisfies every guarantee",
      withStore(open, async (from) => {
        await fill(from);
        await withStore(open, async (to) => {
          await to.snapshot.importAll(from.snapshot.exportAll());
          const { rooms, users, invites } = to;
          expect((await users.getRoster()).admins).toEqual([keySample(1), keySample(4)].sort());
          const user = await users.getUser(keySample(2));
          expect(user && (await users.replaceUser({ ...user, handle: "new" }))).toBe(true);
          const claim = { signPub: keySample(8), kexPub: keySample(8), at: 1 };
          expect(await invites.claimInvite(inviteSample(1).id, claim)).toBe(true);
          expect(await invites.claimInvite(inviteSample(2).id, claim)).toBe(false);
          for (const n of [1, 2, 3]) {
            const { subject } = roomSample(n).room;
            expect((await failure(rooms.insertRoom(roomSample(20, { subject })))).code).toBe("conflict");
          }
          for (const n of [2, 3]) {
            const sameId = roomSample(n, { subject: "room.free" });
            expect((await failure(rooms.insertRoom(sameId))).code).toBe("gone");
          }
          expect((await rooms.getRoom(roomIdSample(1)))?.rekeyPending).toBe(true);
          expect((await rooms.listRoomsOf(peer(2))).map(({ room }) => room.roomId)).toEqual([roomIdSample(1)]);
          expect(await rooms.countRoomsBy(peer(1))).toBe(3);
          await change(to, roomIdSample(1), { stays: [staySample(7, { since: 2 })] });
          await rooms.purgeRoom(roomIdSample(2));
          await rooms.insertRoom(roomSample(20, { subject: roomSample(2).room.subject }));
        })();
      }),
    );

    test(
      "an import restores what was deleted since",
      withStore(open, async ({ rooms, users, invites, snapshot }) => {
        await rooms.insertRoom(roomSample(1));
        await users.insertUser(userSample(1));
        await invites.insertInvite(inviteSample(1));
        const rows = await exported(snapshot);
        await rooms.markDeleted(roomIdSample(1), 5);
        await rooms.purgeRoom(roomIdSample(1));
        await users.deleteUser(keySample(1));
        await invites.claimInvite(inviteSample(1).id, { signPub: keySample(1), kexPub: keySample(1), at: 1 });
        await snapshot.importAll(rows);
        expect(await exported(snapshot)).toEqual(rows);
        const { subject } = roomSample(1).room;
        expect(await rooms.findRoomId(subject)).toBe(roomIdSample(1));
        expect((await failure(rooms.insertRoom(roomSample(2, { subject })))).code).toBe("conflict");
      }),
    );

    test(
      "an interrupted import is completed by the next one",
      withStore(open, async (from) => {
        await fill(from);
        const rows = await exported(from.snapshot);
        await withStore(open, async (to) => {
          for (const cut of [1, 5, 12, rows.length - 1]) {
            const broken = async function* () {
              yield* rows.slice(0, cut);
              throw new Error("cut");
            };
            await expect(to.snapshot.importAll(broken())).rejects.toThrow();
          }
          await to.snapshot.importAll(rows);
          expect(await exported(to.snapshot)).toEqual(rows);
        })();
      }),
    );

    test(
      "an abandoned export does not block the store",
      withStore(open, async (store) => {
        await fill(store);
        for await (const row of store.snapshot.exportAll()) if (row.kind === "stay") break;
        await store.users.insertUser(userSample(10));
        const users = (await exported(store.snapshot)).filter(({ kind }) => kind === "user");
        expect(users).toHaveLength(5);
      }),
    );

    test(
      "a large store can be exported and imported",
      withStore(open, async (from) => {
        const rows = upTo(1_200)
          .map((n): SnapshotRow => ({ kind: "user", user: userSample(n) }))
          .sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
        await from.snapshot.importAll(rows);
        expect(await exported(from.snapshot)).toEqual(rows);
      }),
    );

    test(
      "a backup is written once, and never over an existing file",
      withStore(open, async (store) => {
        const folder = mkdtempSync(join(tmpdir(), "unibus-backup-"));
        try {
          await fill(store);
          const file = join(folder, "copy");
          await store.snapshot.backup(file);
          expect(existsSync(file)).toBe(true);
          const { size, mtimeMs } = statSync(file);
          expect(size).toBeGreaterThan(0);
          expect((await failure(store.snapshot.backup(file))).code).toBe("conflict");
          expect(statSync(file)).toMatchObject({ size, mtimeMs });
        } finally {
          rmSync(folder, { recursive: true, force: true });
        }
      }),
    );
  });
}
