/**
 * Membership changes on open connections: an added member starts to receive without a call of its own, a kicked or
 * revoked one is disconnected, and no message is lost, duplicated or reordered while memberships change.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { ConnectionManager } from "../../src/client/transport/connection-manager.ts";
import { Server, until } from "../support/executable.ts";
import {
  addMembers,
  addUser,
  call,
  createRoom,
  dial,
  kickBody,
  type OwnRoom,
  policy,
  postUser,
} from "../support/peer.ts";

let server: Server;
let admin: Identity;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=100000"] });
  admin = await addUser(server, "root", { admin: true });
});
afterAll(() => server[Symbol.asyncDispose]());

/** A peer that collects what it receives, and follows its rooms. */
async function livePeer(identity: Identity): Promise<{ live: ConnectionManager; got: string[]; troubles: unknown[] }> {
  const got: string[] = [];
  const troubles: unknown[] = [];
  let subjects: string[] = [];
  const live = await ConnectionManager.connect({
    identity,
    servers: [server.ready.nats],
    readGrant: async () => {
      const reply = await call(server.ready.http, identity, "GET", `/members/${identity.endpoint}/rooms`);
      const rooms = (reply.json as unknown as { subject: string; live: boolean }[]).filter((room) => room.live);
      subjects = rooms.map(({ subject }) => subject);
      return subjects.join();
    },
    subjects: () => subjects,
    onMessage: ({ data }) => got.push(Buffer.from(data).toString()),
    keyOf: ({ data }) => createHash("sha256").update(data).digest("hex"),
    onTrouble: (error) => troubles.push(error),
  });
  return { live, got, troubles };
}

async function kick(room: OwnRoom, member: Identity, ...staying: Identity[]): Promise<OwnRoom> {
  const { body, room: next } = kickBody(room, [member], staying);
  const target = `/rooms/${room.state.roomId}/members/${member.endpoint}`;
  const reply = await call(server.ready.http, room.owner, "DELETE", target, body);
  if (reply.status !== 204) throw new Error(`${reply.status} ${reply.text}`);
  return next;
}

test("a new member receives without any call of their own, and a kicked one receives nothing more", async () => {
  const [ana, bob, cleo] = await Promise.all(["ana", "bob", "cleo"].map((name) => postUser(server, admin, name)));
  if (!ana || !bob || !cleo) throw new Error("users");
  let room = await createRoom(server, ana, policy());
  room = await addMembers(server, room, cleo);
  const sender = await dial(server, ana);
  const b = await livePeer(bob);
  const c = await livePeer(cleo);

  room = await addMembers(server, room, bob);
  await until("bob follows the room", () => b.live.followed.includes(room.state.subject));
  sender.publish(room.state.subject, "welcome");
  await until("bob has received it", () => b.got.includes("welcome"));

  // A stock connection of bob's, which does not renew its own login: the server disconnects it.
  const stock = await dial(server, bob, { stock: true });
  const closed = stock.closed();
  room = await kick(room, bob, ana, cleo);
  await closed;
  await until("bob follows no room", () => b.live.followed.length === 0);
  for (let i = 0; i < 50; i++) sender.publish(room.state.subject, `after ${i}`);
  await sender.flush();
  await until("cleo has received all", () => c.got.includes("after 49"));
  expect(c.got).toEqual(["welcome", ...Array.from({ length: 50 }, (_, i) => `after ${i}`)]);
  expect(b.got).toEqual(["welcome"]);

  const again = await dial(server, bob);
  const errors: string[] = [];
  void (async () => {
    for await (const { data } of again.status()) errors.push(String(data));
  })();
  again.publish(room.state.subject, "let me in");
  await again.flush();
  await until("the publish is refused", () => errors.some((error) => /permission/i.test(error)));
  await Promise.all([b.live.close(), c.live.close(), sender.close(), again.close()]);
}, 60_000);

test("of 100,000 messages none is lost, duplicated or reordered while memberships change 200 times", async () => {
  const total = 100_000;
  // As many own changes as a client reads at once; after them it reads one per second.
  const [own, others] = [18, 91] as const;
  const [owner, reader, other] = await Promise.all(
    ["owner", "reader", "other"].map((name) => postUser(server, admin, name)),
  );
  if (!owner || !reader || !other) throw new Error("users");
  const room = await addMembers(server, await createRoom(server, owner, policy()), reader);
  const peer = await livePeer(reader);
  const sender = await dial(server, owner);
  let isChanging = true;
  const changing = (async () => {
    for (let i = 0; i < own; i++) {
      const side = await createRoom(server, owner, policy());
      await addMembers(server, side, reader);
      await until("the change is applied", () => peer.live.followed.includes(side.state.subject));
    }
    for (let i = 0; i < others; i++) {
      const side = await createRoom(server, owner, policy());
      await kick(await addMembers(server, side, other), other, owner);
    }
    isChanging = false;
  })();
  let sent = 0;
  while (sent < total || isChanging) {
    for (let burst = 0; burst < 50; burst++) sender.publish(room.state.subject, `m${sent++}`);
    await sender.flush();
    // Wait for the reader: with a faster sender, the test would measure the slow-consumer limit.
    await until("the reader follows the room", () => sent - peer.got.length < 5_000, 30_000);
    if (sent >= total) await Bun.sleep(1);
  }
  await changing;
  await until("all messages arrived", () => peer.got.length >= sent, 30_000);
  expect(peer.got.length).toBe(sent);
  expect(peer.got.findIndex((text, i) => text !== `m${i}`)).toBe(-1);
  await Promise.all([peer.live.close(), sender.close()]);
}, 120_000);

for (const [how, act] of [
  ["revoked", (user: Identity) => call(server.ready.http, admin, "POST", `/users/${user.signPubHex}/revoke`)],
  ["deleted", (user: Identity) => call(server.ready.http, admin, "DELETE", `/users/${user.signPubHex}`)],
] as const) {
  test(`a user who is ${how} is disconnected and cannot come back`, async () => {
    const user = await postUser(server, admin, how);
    const connection = await dial(server, user);
    const closed = connection.closed();
    expect((await act(user)).status).toBe(204);
    await closed;
    await expect(dial(server, user)).rejects.toThrow();
  });
}

test("a subscription made during a join is active when the call returns", async () => {
  const [ana, bob] = await Promise.all(["ana", "bob"].map((name) => postUser(server, admin, name)));
  if (!ana || !bob) throw new Error("users");
  const got: string[] = [];
  const subjects: string[] = [];
  const live = await ConnectionManager.connect({
    identity: bob,
    servers: [server.ready.nats],
    readGrant: async () => "",
    subjects: () => subjects,
    onMessage: ({ data }) => got.push(Buffer.from(data).toString()),
    keyOf: () => null,
  });
  for (let i = 0; i < 5; i++) {
    const room = await createRoom(server, ana, policy());
    const sender = await dial(server, ana);
    await addMembers(server, room, bob);
    // The connection's login is older than the membership, and its notice is still on the way.
    subjects.push(room.state.subject);
    await live.follow();
    sender.publish(room.state.subject, `first ${i}`);
    await sender.drain();
    await until("bob has received the message", () => got.includes(`first ${i}`), 2_000);
  }
  await live.close();
});
