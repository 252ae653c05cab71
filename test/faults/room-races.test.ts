/**
 * Regression tests for races between two requests that once left a wrong state behind, each in the order that failed.
 * The tests hold one JetStream or store call, run the other request, and release the call. The matrix in races.test.ts
 * runs every pair in any order. Source: docs/protocol/history.md, docs/protocol/logins.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { Nats } from "../../src/contracts/nats.ts";
import { RoomStore, UserStore } from "../../src/contracts/store.ts";
import { Users } from "../../src/contracts/users.ts";
import { type ApiReply, JetStream } from "../../src/nats/jetstream.ts";
import { streamErrors } from "../../src/plugins/room-streams/errors.ts";
import { UnibusError } from "../../src/wire/errors.ts";
import { consumerName, streamName } from "../../src/wire/names.ts";
import { HeldCalls } from "../support/held-calls.ts";
import { bootInProcess, type InProcess, insertUser, serviceOf } from "../support/in-process.ts";
import {
  addBody,
  addMembers,
  at,
  call,
  createBody,
  createRoom,
  dial,
  kickBody,
  newRoom,
  type OwnRoom,
  policy,
  type Reply,
} from "../support/peer.ts";

/** How long a request may wait for the held call before the test releases it, in milliseconds. */
const heldMs = 300;

const held = new HeldCalls();
/** Callbacks that run once, after the next store call of that name. */
const after = new Map<string, () => Promise<void>>();
let running: InProcess;
let people: Readonly<Record<"admin" | "ana" | "ben", Identity>>;
let js: JetStream;

/** Wraps a service so that a test can run something after a call. */
function followed(service: object): object {
  return new Proxy(service, {
    get(target, name) {
      const value = Reflect.get(target, name) as unknown;
      if (typeof value !== "function") return value;
      return async (...args: unknown[]) => {
        const result = (await value.apply(target, args)) as unknown;
        const next = after.get(String(name));
        after.delete(String(name));
        await next?.();
        return result;
      };
    },
  });
}

beforeAll(async () => {
  running = await bootInProcess({
    between: { ...held.between, [RoomStore.id]: followed, [UserStore.id]: followed },
  });
  const admin = await generateIdentity();
  const { signPubHex: signPub, kexPubHex: kexPub, kexSig } = admin;
  await serviceOf(running, Users).add({ signPub, handle: "admin", role: "admin", kexPub, kexSig });
  people = { admin, ana: await insertUser(running, "ana"), ben: await insertUser(running, "ben") };
  js = new JetStream(await serviceOf(running, Nats).connection("BUS"), streamErrors);
}, 60_000);
afterAll(() => running[Symbol.asyncDispose]());

const ask = (who: Identity, method: string, target: string, body?: unknown): Promise<Reply> =>
  call(running.server.ready.http, who, method, target, body);

const streamNames = async (): Promise<string[]> =>
  (await js.call<ApiReply & { streams: string[] | null }>("STREAM.NAMES")).streams ?? [];

/** Returns when a member's consumer was created and its last acknowledged sequence, or null if there is none. */
async function consumer(room: OwnRoom, who: Identity): Promise<{ created: string; acked: number } | null> {
  const { roomId } = room.state;
  const name = consumerName(roomId, who.endpoint);
  const info = await js.call<ApiReply & { created: string; ack_floor: { stream_seq: number } }>(
    `CONSUMER.INFO.${streamName(roomId)}.${name}`,
  );
  return info.error === undefined ? { created: info.created, acked: info.ack_floor.stream_seq } : null;
}

/** Creates a persisted room of ana's whose member ben has a durable that has acknowledged the only message. */
async function roomWithDurable(): Promise<OwnRoom> {
  const room = await addMembers(
    running.server,
    await createRoom(running.server, people.ana, policy("persist")),
    people.ben,
  );
  const bound = await ask(people.ben, "PUT", at(room, "/durable"));
  expect(bound.status).toBe(200);
  const nats = await dial(running.server, people.ben);
  const acked = Promise.withResolvers<void>();
  nats.subscribe(String(bound.json.deliver), {
    callback: (_, message) => void nats.request(message.reply ?? "").then(() => acked.resolve(), acked.reject),
  });
  await nats.request(room.state.subject, "first");
  await acked.promise;
  await nats.close();
  expect((await consumer(room, people.ben))?.acked).toBe(1);
  return room;
}

/** Resolves true if a request ends while a call is held; false if it has waited for that call for a while. */
function endsMeanwhile(request: Promise<unknown>): Promise<boolean> {
  const waited = new Promise<boolean>((resolve) => setTimeout(resolve, heldMs, false));
  return Promise.race([request.then(() => true), waited]);
}

const concurrent: Readonly<Record<string, (room: OwnRoom) => Promise<Reply>>> = {
  "a history read": (room) => ask(people.ben, "GET", at(room, "/history")),
  "a durable request": (room) => ask(people.ben, "PUT", at(room, "/durable")),
};

for (const [name, request] of Object.entries(concurrent)) {
  test(`a deleted room's subject is free at once, even during ${name}`, async () => {
    const made = await createRoom(running.server, people.ana, policy("persist"));
    const room = await addMembers(running.server, made, people.ben);
    const stream = streamName(room.state.roomId);
    // A missing stream is created on demand: a deletion may arrive between the check and the creation.
    await js.call(`STREAM.DELETE.${stream}`);
    const hold = held.next(`STREAM.CREATE.${stream}`);
    const asking = request(room);
    await hold.met;
    const deleting = ask(people.ana, "DELETE", at(room));
    const tidying = (await endsMeanwhile(deleting)) ? held.next(`STREAM.DELETE.${stream}`) : null;
    hold.free();
    expect((await deleting).status).toBe(204);
    // A request that removes what it created too late has not done so yet.
    if (tidying !== null) await Promise.race([tidying.met, asking]);
    const again = newRoom(people.ben, room.state.subject, policy("persist"));
    const created = await ask(people.ben, "POST", "/rooms", createBody(again));
    expect([created.status, created.text]).toEqual([201, expect.any(String)]);
    tidying?.free();
    // Either order is fine: the answer is that for the existing room or for a deleted one.
    expect([200, 410]).toContain((await asking).status);
    expect(await streamNames()).not.toContain(stream);
  }, 20_000);
}

test("the stream that another node created for a deleted room does not keep its subject", async () => {
  const room = await createRoom(running.server, people.ana, policy("persist"));
  expect((await ask(people.ana, "DELETE", at(room))).status).toBe(204);
  const { subject, roomId } = room.state;
  // As if another node had read the room before its deletion, created the stream after it, and then died.
  await js.call(`STREAM.CREATE.${streamName(roomId)}`, { name: streamName(roomId), subjects: [subject] });
  const created = await ask(people.ben, "POST", "/rooms", createBody(newRoom(people.ben, subject, policy("persist"))));
  expect([created.status, created.text]).toEqual([201, expect.any(String)]);
  expect(await streamNames()).not.toContain(streamName(roomId));
}, 20_000);

test("a room gets its stream even if its subject was freed while it was created", async () => {
  const before = await createRoom(running.server, people.ana, policy());
  const next = newRoom(people.ben, before.state.subject, policy("persist"));
  after.set("findRoomId", async () => {
    expect((await ask(people.ana, "DELETE", at(before))).status).toBe(204);
  });
  const created = await ask(people.ben, "POST", "/rooms", createBody(next));
  expect([201, 409]).toContain(created.status);
  const hasStream = (await streamNames()).includes(streamName(next.state.roomId));
  expect(hasStream).toBe(created.status === 201);
}, 20_000);

test("DELETE of a durable answers when its consumer is deleted, and a later PUT begins with the whole backlog", async () => {
  const room = await roomWithDurable();
  const hold = held.next(`CONSUMER.DELETE.${streamName(room.state.roomId)}`);
  const deleting = ask(people.ben, "DELETE", at(room, "/durable"));
  await hold.met;
  expect(await endsMeanwhile(deleting)).toBe(false);
  hold.free();
  expect((await deleting).status).toBe(204);
  expect(await consumer(room, people.ben)).toBeNull();
  expect((await ask(people.ben, "PUT", at(room, "/durable"))).status).toBe(200);
  expect((await consumer(room, people.ben))?.acked).toBe(0);
}, 20_000);

test("a durable that is requested during its removal exists if its PUT was answered last", async () => {
  const room = await roomWithDurable();
  const hold = held.next(`CONSUMER.DELETE.${streamName(room.state.roomId)}`);
  const deleting = ask(people.ben, "DELETE", at(room, "/durable"));
  await hold.met;
  const putting = ask(people.ben, "PUT", at(room, "/durable"));
  await endsMeanwhile(putting);
  hold.free();
  expect((await deleting).status).toBe(204);
  expect((await putting).status).toBe(200);
  expect((await consumer(room, people.ben))?.acked).toBe(0);
}, 20_000);

test("a durable that is removed while it is created exists in the end, with its device", async () => {
  const room = await addMembers(
    running.server,
    await createRoom(running.server, people.ana, policy("persist")),
    people.ben,
  );
  after.set("replaceStay", async () => {
    expect((await ask(people.ben, "DELETE", at(room, "/durable"))).status).toBe(204);
  });
  expect((await ask(people.ben, "PUT", at(room, "/durable"))).status).toBe(200);
  const stay = await serviceOf(running, RoomStore).getStay(room.state.roomId, people.ben.endpoint);
  expect(stay?.devices).toEqual(["main"]);
  expect(await consumer(room, people.ben)).not.toBeNull();
}, 20_000);

test("a member who is added again does not resume the durable of the former stay", async () => {
  const room = await roomWithDurable();
  // The leave is settled in the background: hold that until the member is back.
  const hold = held.next(`CONSUMER.NAMES.${streamName(room.state.roomId)}`);
  expect((await ask(people.ben, "DELETE", at(room, `/members/${people.ben.endpoint}`))).status).toBe(204);
  await hold.met;
  const rekeyed = kickBody(room, [people.ben], [people.ana]);
  expect((await ask(people.ana, "POST", at(room, "/rekey"), rekeyed.body)).status).toBe(200);
  await addMembers(running.server, rekeyed.room, people.ben);
  expect((await serviceOf(running, RoomStore).getStay(room.state.roomId, people.ben.endpoint))?.devices).toEqual([]);
  expect((await ask(people.ben, "PUT", at(room, "/durable"))).status).toBe(200);
  hold.free();
  expect((await consumer(room, people.ben))?.acked).toBe(0);
}, 20_000);

test("the durables of a revoked or deleted user are deleted with the user", async () => {
  for (const [method, part] of [
    ["POST", "/revoke"],
    ["DELETE", ""],
  ] as const) {
    const user = await insertUser(running, "cat");
    const room = await addMembers(
      running.server,
      await createRoom(running.server, people.ana, policy("persist")),
      user,
    );
    expect((await ask(user, "PUT", at(room, "/durable"))).status).toBe(200);
    expect((await ask(people.admin, method, `/users/${user.signPubHex}${part}`)).status).toBeLessThan(300);
    const deadline = Date.now() + 10_000;
    while ((await consumer(room, user)) !== null && Date.now() < deadline) await Bun.sleep(10);
    expect(await consumer(room, user)).toBeNull();
  }
}, 30_000);

for (const [name, method, part] of [
  ["revoked", "POST", "/revoke"],
  ["deleted", "DELETE", ""],
] as const) {
  test(`a user who is ${name} while an owner adds them is out, and the room waits to be rekeyed`, async () => {
    const user = await insertUser(running, "dan");
    const room = await createRoom(running.server, people.ana, policy());
    // The add reads the members, then the users to add.
    after.set("listStays", async () => {
      after.set("getUserByEndpoint", async () => {
        const reply = await ask(people.admin, method, `/users/${user.signPubHex}${part}`);
        expect(reply.status).toBeLessThan(300);
      });
    });
    const added = await ask(people.ana, "POST", at(room, "/members"), addBody(room, user).body);
    expect([201, 404]).toContain(added.status);
    const stay = await serviceOf(running, RoomStore).getStay(room.state.roomId, user.endpoint);
    expect(stay?.leftAt === null).toBe(false);
    const { json } = await ask(people.ana, "GET", at(room));
    expect(json.rekey_pending).toBe(added.status === 201);
  }, 20_000);
}

test("a user who is revoked while they create a room is not in it", async () => {
  const user = await insertUser(running, "eve");
  const room = newRoom(user, `room.races-${user.signPubHex.slice(0, 12)}`, policy());
  after.set("countRoomsBy", async () => {
    expect((await ask(people.admin, "POST", `/users/${user.signPubHex}/revoke`)).status).toBeLessThan(300);
  });
  const created = await ask(user, "POST", "/rooms", createBody(room));
  const stay = await serviceOf(running, RoomStore).getStay(room.state.roomId, user.endpoint);
  expect([created.status, stay?.leftAt === null]).toEqual([created.status, false]);
}, 20_000);

test("an admin who is revoked while they become one is not counted among the admins", async () => {
  const { signPubHex: sign_pub, kexPubHex: kex_pub, kexSig: kex_sig } = await generateIdentity();
  after.set("insertUser", async () => {
    // The new admin is not in the roster yet.
    expect((await ask(people.admin, "POST", `/users/${sign_pub}/revoke`)).status).toBeLessThan(300);
  });
  const body = { sign_pub, handle: "gil", role: "admin", kex_pub, kex_sig };
  await ask(people.admin, "POST", "/users", body);
  const roster = await serviceOf(running, UserStore).getRoster();
  expect(roster?.admins).toEqual([people.admin.signPubHex]);
}, 20_000);

test("an admin who becomes one while they are being revoked is not counted among the admins", async () => {
  const { signPubHex: sign_pub, kexPubHex: kex_pub, kexSig: kex_sig } = await generateIdentity();
  const looked = Promise.withResolvers<void>();
  const posting = Promise.withResolvers<void>();
  let revoking: Promise<Reply> | undefined;
  after.set("insertUser", async () => {
    // The revocation reads the roster, and continues when the new admin is in it.
    after.set("getRoster", async () => {
      looked.resolve();
      await posting.promise;
    });
    revoking = ask(people.admin, "POST", `/users/${sign_pub}/revoke`);
    await looked.promise;
  });
  await ask(people.admin, "POST", "/users", { sign_pub, handle: "hal", role: "admin", kex_pub, kex_sig });
  posting.resolve();
  expect((await revoking)?.status).toBeLessThan(300);
  expect((await serviceOf(running, UserStore).getRoster()).admins).toEqual([people.admin.signPubHex]);
}, 20_000);

test("an interrupted deletion of a user is completed by a repeated request", async () => {
  const user = await insertUser(running, "ida");
  const room = await addMembers(running.server, await createRoom(running.server, people.ana, policy()), user);
  after.set("listRoomsOf", () => Promise.reject(new UnibusError("unavailable", "the store does not answer")));
  const deletion = () => ask(people.admin, "DELETE", `/users/${user.signPubHex}`);
  expect((await deletion()).status).toBe(503);
  // The first step already denies access.
  expect((await ask(user, "GET", at(room))).status).toBe(401);
  expect((await deletion()).status).toBe(204);
  const { json } = await ask(people.ana, "GET", at(room));
  expect(json.rekey_pending).toBe(true);
}, 20_000);
