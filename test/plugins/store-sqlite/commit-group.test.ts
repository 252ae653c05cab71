/**
 * Transactions of the SQLite store: writes of one event-loop turn share a commit, and a change is applied completely
 * or not at all. The tests make each SQL call fail in turn, through a proxy.
 */
import type { Database as Native, Statement } from "bun:sqlite";
import { expect, test } from "bun:test";
import type { SnapshotRow } from "../../../src/contracts/index.ts";
import { leaving } from "../../../src/contracts/stay-rules.ts";
import { connect, databaseOver, openDatabase } from "../../../src/plugins/store-sqlite/database.ts";
import { openSqliteStore, type SqliteStore, storeOver } from "../../../src/plugins/store-sqlite/store.ts";
import {
  changeOf,
  epochMs,
  keySample,
  peer,
  reviseStay,
  roomIdSample,
  roomSample,
  sealedSample,
  staySample,
  upTo,
  userSample,
} from "../../conformance/store-samples.ts";
import { thrownBy, withFile } from "./folder.ts";

/** Which calls of prepared statements fail: `times` of them, starting with the `from`-th. */
interface Plan {
  from: number;
  times: number;
  calls: number;
}

function faultyStatement<T extends Statement>(statement: T, plan: Plan): T {
  return new Proxy(statement, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...bindings: unknown[]) => {
        plan.calls++;
        if (plan.calls >= plan.from && plan.calls < plan.from + plan.times) throw new Error("injected");
        return value.apply(target, bindings);
      };
    },
  });
}

function faulty(native: Native, plan: Plan): Native {
  return new Proxy(native, {
    get(target, name) {
      if (name === "prepare") return (sql: string) => faultyStatement(target.prepare(sql), plan);
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

const roomId = roomIdSample(1);
const { room } = roomSample(1);
const removal = changeOf(
  { ...room, version: 2, revision: 2 },
  { rekey: true, stays: [staySample(2, { until: 2 })], keys: [sealedSample(1, 2), sealedSample(3, 2)] },
);

/** The life of a room, step by step. */
const steps: Readonly<Record<string, (store: SqliteStore) => Promise<unknown>>> = {
  insertRoom: ({ rooms }) => rooms.insertRoom(roomSample(1)),
  addition: ({ rooms }) =>
    rooms.applyChange(changeOf(room, { stays: [staySample(2), staySample(3)], keys: [sealedSample(2, 1)] })),
  removal: ({ rooms }) => rooms.applyChange(removal),
  replaceStay: ({ rooms }) => reviseStay(rooms, roomId, peer(3), leaving(epochMs)),
  markDeleted: ({ rooms }) => rooms.markDeleted(roomId, 9),
};

const exported = (store: SqliteStore): Promise<SnapshotRow[]> => Array.fromAsync(store.snapshot.exportAll());

async function failEveryCall(times: number): Promise<number> {
  let failures = 0;
  await withFile(async (file) => {
    openDatabase({ file }).close();
    const plan: Plan = { from: 0, times: 0, calls: 0 };
    const store = storeOver(databaseOver(faulty(connect(file), plan), file));
    const beside = openSqliteStore({ file });
    for (const [name, step] of Object.entries(steps)) {
      const before = await exported(beside);
      for (let from = 1; ; from++) {
        Object.assign(plan, { from, times, calls: 0 });
        const thrown = await step(store).then(
          () => null,
          (error: unknown) => error,
        );
        plan.times = 0;
        if (thrown === null) break;
        failures++;
        expect(thrown).toMatchObject({ code: "unavailable" });
        // Neither another process nor this one sees any part of the change.
        expect(await exported(beside)).toEqual(before);
        expect(await store.rooms.getRoom(roomId)).toEqual(await beside.rooms.getRoom(roomId));
        expect(await store.rooms.listStays(roomId)).toEqual(await beside.rooms.listStays(roomId));
      }
      expect([name, await exported(beside)]).not.toEqual([name, before]);
    }
    const whole = await exported(beside);
    store.close();
    beside.close();
    await withFile(async (clean) => {
      const reference = openSqliteStore({ file: clean });
      for (const step of Object.values(steps)) await step(reference);
      expect(whole).toEqual(await exported(reference));
      reference.close();
    });
  });
  return failures;
}

test("if any call fails, a reader sees none of the change, and a retry completes it", async () => {
  expect(await failEveryCall(1)).toBeGreaterThan(30);
});

test("the same holds when the rollback fails, too", async () => {
  expect(await failEveryCall(2)).toBeGreaterThan(30);
});

test("if any call of a purge fails, the subject is not free before all rows are gone, and a retry completes it", () =>
  withFile(async (file) => {
    openDatabase({ file }).close();
    const plan: Plan = { from: 0, times: 0, calls: 0 };
    const store = storeOver(databaseOver(faulty(connect(file), plan), file));
    await store.rooms.insertRoom(roomSample(1));
    await store.rooms.markDeleted(roomId, 9);
    const heir = roomSample(2, { subject: room.subject });
    for (let from = 1; ; from++) {
      Object.assign(plan, { from, times: 1, calls: 0 });
      const failed = await store.rooms.purgeRoom(roomId).then(
        () => false,
        () => true,
      );
      plan.times = 0;
      if (!failed) break;
      expect(await thrownBy(() => store.rooms.insertRoom(heir))).toMatchObject({ code: "conflict" });
    }
    expect(await store.rooms.listStays(roomId)).toEqual([]);
    await store.rooms.insertRoom(heir);
    store.close();
  }));

test("a purge removes more rows than fit in one transaction", () =>
  withFile(async (file) => {
    const store = openSqliteStore({ file });
    const keys = upTo(10_001).map((n) => sealedSample(n, 1));
    await store.rooms.insertRoom({ ...roomSample(1), keys });
    await store.rooms.markDeleted(roomId, 9);
    await store.rooms.purgeRoom(roomId);
    const rows = await exported(store);
    expect(rows.map(({ kind }) => kind)).toEqual(["room"]);
    store.close();
  }));

test("the writes of one turn are one commit, and a conflict rolls back only itself", () =>
  withFile(async (file) => {
    const database = openDatabase({ file });
    const store = storeOver(database);
    const walPages = () => Bun.file(`${file}-wal`).size;
    await store.users.insertUser(userSample(0));
    const before = walPages();
    await store.users.insertUser(userSample(1));
    const perCommit = walPages() - before;
    const begun = walPages();
    const numbers = [2, 3, 0, 4, 1, 5];
    const settled = await Promise.allSettled(numbers.map((n) => store.users.insertUser(userSample(n))));
    expect(walPages() - begun).toBe(perCommit);
    const refused = numbers.filter((_, index) => settled[index]?.status === "rejected");
    expect(refused).toEqual([0, 1]);
    for (const n of upTo(6)) expect(await store.users.getUser(keySample(n))).not.toBeNull();

    const half = database.write(() => {
      database.native.run("DELETE FROM users");
      throw new Error("half way");
    });
    const neighbour = store.users.insertUser(userSample(6));
    expect(await thrownBy(() => half)).toMatchObject({ code: "unavailable" });
    await neighbour;
    expect(await store.users.listUsers(null, 100)).toHaveLength(7);
    store.close();
  }));

test("no write succeeds before its commit, and a failed commit fails all its writes", () =>
  withFile(async (file) => {
    openDatabase({ file }).close();
    const plan: Plan = { from: 0, times: 0, calls: 0 };
    const store = storeOver(databaseOver(faulty(connect(file), plan), file));
    // BEGIN, then SAVEPOINT, INSERT and RELEASE for each of four, then COMMIT.
    Object.assign(plan, { from: 14, times: 1, calls: 0 });
    const settled = await Promise.allSettled(upTo(4).map((n) => store.users.insertUser(userSample(n))));
    expect(plan.calls).toBeGreaterThanOrEqual(14);
    for (const one of settled) expect(one).toMatchObject({ status: "rejected", reason: { code: "unavailable" } });
    expect(await store.users.listUsers(null, 10)).toEqual([]);
    await Promise.all(upTo(4).map((n) => store.users.insertUser(userSample(n))));
    expect(await store.users.listUsers(null, 10)).toHaveLength(4);
    store.close();
  }));

test("more writes than fit in one commit run in order, and more than may wait are refused", () =>
  withFile(async (file) => {
    const database = openDatabase({ file });
    const done: number[] = [];
    const outcomes = await Promise.allSettled(upTo(20_001).map((n) => database.write(() => done.push(n))));
    expect(outcomes.filter(({ status }) => status === "rejected")).toHaveLength(1);
    expect(outcomes.at(-1)).toMatchObject({ status: "rejected", reason: { code: "unavailable" } });
    expect(done).toEqual(upTo(20_000));
    database.close();
  }));
