/**
 * Charges of payers in the buckets: rooms without a recorded charge are counted once. Source: docs/protocol/logins.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { rowBytes } from "../../../src/contracts/rows.ts";
import type { RoomChange } from "../../../src/contracts/store.ts";
import type { KvStore } from "../../../src/plugins/store-kv/store.ts";
import { buckets } from "../../../src/wire/names.ts";
import { expectedCharges } from "../../conformance/store-charges.ts";
import {
  changeOf,
  keySample,
  peer,
  roomIdSample,
  roomSample,
  sealedSample,
  staySample,
} from "../../conformance/store-samples.ts";
import { until } from "../../support/executable.ts";
import { jetStream } from "../../support/inside.ts";
import { KvServer } from "./server.ts";

const roomId = roomIdSample(1);
const text = (epoch: number) => `unibus-room-v1\nROOM\n1\n0\nroom.x\n000\n${epoch}\ncheck\nowners\nmembers`;

let server: KvServer;
beforeAll(async () => {
  server = await KvServer.start(8);
});
afterAll(() => server[Symbol.asyncDispose]());

async function changeBy({ rooms }: KvStore, n: number, parts: Parameters<typeof changeOf>[1]): Promise<void> {
  const room = await rooms.getRoom(roomId);
  if (room === null) throw new Error("no room");
  const change = changeOf(room, parts);
  const statement = { ...change.statement, text: text(change.room.epoch), by: keySample(n) };
  expect(await rooms.applyChange({ ...change, statement } satisfies RoomChange)).toBe(true);
}

/** Rewrites a value in a bucket. */
async function rewrite(connection: NatsConnection, key: string, change: (value: Record<string, unknown>) => unknown) {
  const [bucket = ""] = key.split(".");
  type Reply = { message: { data: string } };
  const { message } = await jetStream<Reply>(connection, `STREAM.MSG.GET.KV_${bucket}`, { last_by_subj: `$KV.${key}` });
  const value = JSON.parse(Buffer.from(message.data, "base64").toString()) as Record<string, unknown>;
  await connection.request(`$KV.${key}`, JSON.stringify(change(value)));
}

/** A room with three epochs by two signers, stored as by a version that did not charge. */
async function old(account: string): Promise<KvStore & { readonly connection: NatsConnection }> {
  const store = await server.store(account);
  const made = roomSample(1);
  await store.rooms.insertRoom({ ...made, statement: { ...made.statement, text: text(1) } });
  await changeBy(store, 1, { stays: [staySample(2), staySample(3)], keys: [sealedSample(2, 1), sealedSample(3, 1)] });
  await changeBy(store, 2, { rekey: true, keys: [1, 2, 3].map((n) => sealedSample(n, 2)) });
  await changeBy(store, 1, { rekey: true, keys: [1, 2, 3].map((n) => sealedSample(n, 3)) });
  await rewrite(store.connection, `${buckets.rooms}.${roomId}`, ({ charges: _, keys, ...entry }) => ({
    ...entry,
    keys: { ...(keys as object), by: undefined },
  }));
  for (const epoch of [1, 2]) {
    await rewrite(store.connection, `${buckets.roomKeys}.${roomId}.epoch-${epoch}`, ({ by: _, ...keys }) => keys);
  }
  return store;
}

test("a room without totals is counted once, and the keys of an epoch go to the signer who began it", async () => {
  const account = server.freshAccount();
  const before = await old(account);
  const store = await server.store(account);
  // An export names the same payers even before the count.
  const expected = await expectedCharges(store);
  expect(await store.rooms.rowBytesOf(peer(1))).toBe(0);
  await store.countRows();
  expect(await store.rooms.rowBytesOf(peer(1))).toBe(expected.get(peer(1)) ?? 0);
  expect(await store.rooms.rowBytesOf(peer(2))).toBe(3 * rowBytes.key + rowBytes.statement + text(2).length);
  expect(await before.rooms.rowBytesOf(peer(2))).toBe(expected.get(peer(2)) ?? 0);
  expect((await store.rooms.getSealedKey(roomId, peer(3), 2))?.chargedTo).toBe(peer(2));
  expect(await expectedCharges(store)).toEqual(expected);

  await changeBy(store, 1, {
    rekey: true,
    stays: [staySample(3, { until: 4 })],
    keys: [1, 2].map((n) => sealedSample(n, 4)),
  });
  await store.rooms.dropKeys(roomId, null);
  const after = await expectedCharges(store);
  for (const n of [1, 2]) expect(await store.rooms.rowBytesOf(peer(n))).toBe(after.get(peer(n)) ?? 0);
  expect(after.get(peer(2))).toBe(2 * rowBytes.key + rowBytes.statement + text(2).length);
});

test("the first quota check counts the rows, if no server start did", async () => {
  const store = await old(server.freshAccount());
  expect(await store.rooms.rowBytesOf(peer(2))).toBe(0);
  const counted = 3 * rowBytes.key + rowBytes.statement + text(2).length;
  await until("the rows are counted", async () => (await store.rooms.rowBytesOf(peer(2))) === counted);
});
