/** Quotas count the notes that the store keeps beside its rooms, so no race may leave a wrong note. */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { accepting, leaving } from "../../../src/contracts/stay-rules.ts";
import type { KvStore } from "../../../src/plugins/store-kv/store.ts";
import {
  changeOf,
  peer,
  reviseStay,
  roomIdSample,
  roomSample,
  sealedSample,
  staySample,
  upTo,
} from "../../conformance/store-samples.ts";
import { staleNotes } from "../../support/kv-notes.ts";
import { KvServer } from "./server.ts";

const roomsRaced = 24;

let server: KvServer;
let one: KvStore;
let other: KvStore;
let connection: NatsConnection;
beforeAll(async () => {
  server = await KvServer.start(8);
});
beforeEach(async () => {
  const account = server.freshAccount();
  connection = await server.connection(account);
  [one, other] = await Promise.all([server.store(account), server.store(account)]);
});
afterAll(() => server[Symbol.asyncDispose]());

/** A room whose second member was added and has not accepted. */
async function roomOf(n: number) {
  const made = roomSample(n);
  await one.rooms.insertRoom(made);
  const added = changeOf(made.room, {
    stays: [staySample(2, { acceptedAt: null, addedBy: peer(1) })],
    keys: [sealedSample(2, 1)],
  });
  expect(await one.rooms.applyChange(added)).toBe(true);
  return added.room;
}

test("changing a stay that was accepted since it was read does not note it as unaccepted", async () => {
  const room = await roomOf(1);
  const [read] = (await one.rooms.listStays(room.roomId)).filter(({ endpoint }) => endpoint === peer(2));
  if (read === undefined) throw new Error("no user was added");
  expect(await staleNotes(one.rooms, connection)).toEqual([]);
  expect(await reviseStay(other.rooms, room.roomId, peer(2), accepting(1))).not.toBeNull();
  expect(await one.rooms.applyChange(changeOf(room, { stays: [{ ...read, role: "owner" }] }))).toBe(true);
  expect((await one.rooms.getStay(room.roomId, peer(2)))?.acceptedAt).toBe(1);
  expect(await staleNotes(one.rooms, connection)).toEqual([]);
});

test("a member who leaves a room before accepting it does not count as unaccepted any more", async () => {
  const room = await roomOf(2);
  expect(await reviseStay(one.rooms, room.roomId, peer(2), leaving(1))).not.toBeNull();
  expect(await staleNotes(one.rooms, connection)).toEqual([]);
});

test("an acceptance, and an add, leave no note if a deletion comes first", async () => {
  const rooms = [];
  for (const n of upTo(roomsRaced)) rooms.push(await roomOf(n + 10));
  const raced = rooms.flatMap((room, n) => [
    n % 2 === 0
      ? reviseStay(one.rooms, room.roomId, peer(2), accepting(1))
      : one.rooms.applyChange(changeOf(room, { stays: [staySample(3, { acceptedAt: null, addedBy: peer(1) })] })),
    other.rooms.markDeleted(room.roomId, 1).then(() => other.rooms.purgeRoom(room.roomId)),
  ]);
  await Promise.all(raced);
  expect(await staleNotes(one.rooms, connection)).toEqual([]);
});

test("an add leaves no note if another change comes first, and one that is noted later stays", async () => {
  const room = await roomOf(100);
  const adds = upTo(roomsRaced).map((n) =>
    changeOf(room, { stays: [staySample(n + 3, { acceptedAt: null, addedBy: peer(1) })], salt: `${n}` }),
  );
  const taken = await Promise.all(adds.map((add, n) => (n % 2 === 0 ? one : other).rooms.applyChange(add)));
  expect(taken.filter(Boolean)).toHaveLength(1);
  expect(await staleNotes(one.rooms, connection)).toEqual([]);
  expect(await one.rooms.listRoomsOf(peer(taken.indexOf(true) + 3))).toHaveLength(1);
  expect(roomIdSample(100)).toBe(room.roomId);
});
