/**
 * The key-value buckets: how they are created and opened, their replica count, and records that are damaged or
 * incomplete. Invariant: anything unreadable denies access.
 */

import { afterAll, beforeAll, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { leaving } from "../../../src/contracts/stay-rules.ts";
import { JetStream } from "../../../src/nats/jetstream.ts";
import { openBuckets } from "../../../src/plugins/store-kv/buckets.ts";
import { storeErrors } from "../../../src/plugins/store-kv/errors.ts";
import { sharedNonceLifeMs } from "../../../src/plugins/store-kv/nonces.ts";
import { buckets } from "../../../src/wire/names.ts";
import {
  failure,
  peer,
  reviseStay,
  roomIdSample,
  roomSample,
  staySample,
  userSample,
} from "../../conformance/store-samples.ts";
import { jetStream } from "../../support/inside.ts";
import { KvServer } from "./server.ts";

const claimLifeMs = 60_000;
const roomId = roomIdSample(1);
const { subject } = roomSample(1).room;

let server: KvServer;
beforeAll(async () => {
  server = await KvServer.start(16);
});
afterAll(() => server[Symbol.asyncDispose]());

type Info = { config: Record<string, unknown> };
const infoOf = (connection: NatsConnection, name: string) => jetStream<Info>(connection, `STREAM.INFO.KV_${name}`);
const publish = (connection: NatsConnection, key: string, value: string) => connection.request(`$KV.${key}`, value);
const codesOf = (reads: readonly Promise<unknown>[]) =>
  Promise.all(reads.map(async (read) => (await failure(read)).code));
const opening = (replicas: number, signal = new AbortController().signal) => ({
  replicas,
  onWait: () => undefined,
  signal,
});

test("each bucket is created once, with reads that only its leader answers", async () => {
  const account = server.freshAccount();
  const [{ connection }] = await Promise.all([server.store(account), server.store(account)]);
  const names: string[] = Object.values(buckets);
  expect(names).toEqual(
    ["rooms", "members", "rooms_by_member", "room_keys", "users", "invites", "nonces"].map((name) => `UNIBUS_${name}`),
  );
  for (const name of names) {
    const { config } = await infoOf(connection, name);
    expect(config).toMatchObject({ allow_direct: false, max_msgs_per_subject: 1, num_replicas: 1, storage: "file" });
    expect(config.max_age).toBe(name === buckets.nonces ? sharedNonceLifeMs * 1_000_000 : 0);
  }
});

test("a bucket that allows reads from replicas is reconfigured, and keeps its contents", async () => {
  const account = server.freshAccount();
  const { connection, users } = await server.store(account);
  await users.insertUser(userSample(1));
  const { config } = await infoOf(connection, buckets.users);
  await jetStream(connection, `STREAM.UPDATE.KV_${buckets.users}`, { ...config, allow_direct: true });
  const again = await server.store(account);
  expect((await infoOf(connection, buckets.users)).config.allow_direct).toBe(false);
  expect(await again.users.getUserByEndpoint(peer(1))).not.toBeNull();
});

test("more replicas than servers are refused at once, naming the setting", async () => {
  const js = new JetStream(await server.connection(server.freshAccount()), storeErrors);
  const refused = await failure(openBuckets(js, opening(3)));
  expect(refused).toMatchObject({
    code: "invalid",
    message: expect.stringContaining("store-kv.replicas: 3 replicas need a cluster"),
  });
});

test("opening retries until the server answers, or the bus stops", async () => {
  const waiting = Promise.withResolvers<void>();
  const stopping = new AbortController();
  await using alone = await KvServer.start(1);
  const js = new JetStream(await alone.connection(alone.freshAccount()), storeErrors);
  await alone.kill();
  const opened = failure(openBuckets(js, { ...opening(1, stopping.signal), onWait: () => waiting.resolve() }));
  await waiting.promise;
  stopping.abort();
  expect((await opened).code).toBe("unavailable");
});

test("an entry that cannot be read denies access", async () => {
  const { connection, users, rooms, invites } = await server.store(server.freshAccount());
  await publish(connection, `${buckets.users}.${peer(1)}`, "{");
  await publish(connection, `${buckets.rooms}.${roomId}`, "");
  await publish(connection, `${buckets.invites}.id`, "null");
  const reads = [
    users.getUserByEndpoint(peer(1)),
    ...[rooms.getRoom(roomId), rooms.getStay(roomId, peer(1)), rooms.listStays(roomId)],
    invites.getInvite("id"),
  ];
  expect(new Set(await codesOf(reads))).toEqual(new Set(["unavailable"]));
});

test("a room with a missing record denies access, and never reads as a room without members", async () => {
  const { connection, rooms } = await server.store(server.freshAccount());
  await rooms.insertRoom(roomSample(1));
  for (const name of [buckets.members, buckets.roomKeys]) await jetStream(connection, `STREAM.PURGE.KV_${name}`, {});
  const reads = [
    rooms.getStay(roomId, peer(1)),
    rooms.listStays(roomId),
    rooms.listRoomsOf(peer(1)),
    rooms.getSealedKey(roomId, peer(1), null),
    reviseStay(rooms, roomId, peer(1), leaving(1)),
  ];
  expect(new Set(await codesOf(reads))).toEqual(new Set(["unavailable"]));
});

test("a user whose own list names a room is not a member unless the room says so", async () => {
  const { connection, rooms } = await server.store(server.freshAccount());
  await rooms.insertRoom(roomSample(1));
  const noted = JSON.stringify({ [roomId]: 1, [roomIdSample(9)]: 1 });
  await publish(connection, `${buckets.roomsByMember}.${peer(2)}`, noted);
  await publish(connection, `${buckets.roomsByMember}.creator.${peer(2)}`, noted.replaceAll(":1", ":0"));
  expect(await rooms.listRoomsOf(peer(2))).toEqual([]);
  expect(await rooms.countRoomsBy(peer(2))).toBe(0);
});

test("a claim without a room expires and can be taken over, and its late first creator fails", async () => {
  const account = server.freshAccount();
  let ahead = 0;
  const { connection, rooms } = await server.store(account, { now: () => Date.now() + ahead });
  await publish(connection, `${buckets.rooms}.subject.${subject}`, JSON.stringify({ roomId }));
  expect(await rooms.findRoomId(subject)).toBeNull();
  const heir = roomSample(2, { subject });
  ahead = claimLifeMs - 10_000;
  expect((await failure(rooms.insertRoom(heir))).code).toBe("conflict");
  ahead = claimLifeMs + 1_000;
  await rooms.insertRoom(heir);
  expect(await rooms.findRoomId(subject)).toBe(roomIdSample(2));
  expect((await failure(rooms.insertRoom(roomSample(1)))).code).toBe("gone");
  expect(await rooms.getRoom(roomId)).toBeNull();
  expect(await rooms.getStay(roomId, peer(1))).toBeNull();
  expect((await rooms.listRooms(null, 10)).map((room) => room.roomId)).toEqual([roomIdSample(2)]);
});

test("a room can reuse its own claim, and a claim by a room of another subject has no effect", async () => {
  const { connection, rooms } = await server.store(server.freshAccount());
  await publish(connection, `${buckets.rooms}.subject.${subject}`, JSON.stringify({ roomId }));
  await rooms.insertRoom(roomSample(1));
  expect(await rooms.getStay(roomId, peer(1))).toEqual(staySample(1, { role: "owner" }));
  await publish(connection, `${buckets.rooms}.subject.room.other`, JSON.stringify({ roomId }));
  expect(await rooms.findRoomId("room.other")).toBeNull();
  await rooms.insertRoom(roomSample(3, { subject: "room.other" }));
  expect(await rooms.findRoomId("room.other")).toBe(roomIdSample(3));
});

test("the replica count is that of the rooms bucket", async () => {
  const { replicas } = await server.store(server.freshAccount());
  expect(await replicas.count()).toBe(1);
});

test("a shared nonce that cannot be checked is refused", async () => {
  await using alone = await KvServer.start(1);
  const { nonces } = await alone.store(alone.freshAccount());
  await alone.kill();
  expect((await failure(nonces.claim("AAAAAAAAAAAAAAAAAAAAAA==", "a", 1))).code).toBe("unavailable");
});
