/** nats-server is killed under load: every client reconnects, and no acknowledged message is lost. */
import { expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { isAlive, Server, until } from "../support/executable.ts";
import { addMembers, addUser, at, call, createRoom, dial, type OwnRoom, policy, postUser } from "../support/peer.ts";
import { isSoak } from "../support/soak.ts";

const usersCount = 10;
const connectionsEach = 20;
/** Deadline for all clients to be back, counted from when nats-server answers again, in milliseconds. */
const backWithinMs = isSoak("reconnect") ? 5_000 : 30_000;

/** Publishes one message after another until stopped, and records the acknowledged ones. */
function publishing(connection: NatsConnection, { state }: OwnRoom) {
  const acked: string[] = [];
  let isOver = false;
  const done = (async () => {
    for (let index = 0; !isOver; index++) {
      const text = `m${index}`;
      const options = { timeout: 1_000, noMux: true };
      const reply = await connection.request(state.subject, text, options).catch(() => null);
      if (reply?.json<{ seq?: number }>().seq !== undefined) acked.push(text);
    }
  })();
  const stop = (): Promise<void> => {
    isOver = true;
    return done;
  };
  return { acked, stop };
}

async function stored(server: Server, room: OwnRoom): Promise<Set<string>> {
  const all = new Set<string>();
  for (let before = Number.MAX_SAFE_INTEGER, more = true; more; ) {
    const target = at(room, `/history?limit=1000&before=${before}`);
    const { json } = await call(server.ready.http, room.owner, "GET", target);
    for (const message of json.messages as string[]) all.add(Buffer.from(message, "base64").toString());
    before = json.first_seq as number;
    more = json.more as boolean;
  }
  return all;
}

test("200 connected clients reconnect, nothing acknowledged is lost, and all can still be disconnected", async () => {
  await using server = await Server.start({ args: ["--set", "http.rate=100000"] });
  const admin = await addUser(server, "root", { admin: true });
  const names = Array.from({ length: usersCount }, (_, index) => `user${index}`);
  const users = await Promise.all(names.map((name) => postUser(server, admin, name)));
  const room = await addMembers(server, await createRoom(server, admin, policy("persist")), ...users);
  const again = {
    reconnect: true,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
    reconnectJitter: 200,
    timeout: 2_000,
  };
  // User by user: nats.js reports a first login that a busy bus drops as a failure, and does not try again.
  const connections: NatsConnection[] = [];
  for (const user of users) {
    connections.push(...(await Promise.all(Array.from({ length: connectionsEach }, () => dial(server, user, again)))));
  }
  const got = connections.map((connection) => {
    const texts = new Set<string>();
    connection.subscribe(room.state.subject, { callback: (_, message) => void texts.add(message.string()) });
    return texts;
  });
  await Promise.all(connections.map((connection) => connection.flush()));
  const sender = await dial(server, admin, again);
  const { acked, stop } = publishing(sender, room);
  await until("some messages are acknowledged", () => acked.length > 100);

  const pid = server.natsPid;
  expect(pid).toBe(server.ready.nats_pid);
  process.kill(pid, "SIGKILL");
  await until("a new nats-server is running", () => server.natsPid !== pid);
  await until("the new nats-server answers", async () => (await fetch(`${server.ready.http}/readyz`)).status === 200);
  const upAt = performance.now();
  const before = acked.length;
  await until("messages are acknowledged again", () => acked.length > before);
  await until(
    "all clients are back",
    async () => {
      sender.publish(room.state.subject, "are you there?");
      await sender.flush();
      return got.every((texts) => texts.has("are you there?"));
    },
    backWithinMs,
  );
  console.log(`all ${connections.length} back ${Math.round(performance.now() - upAt)} ms after nats-server answered`);
  await stop();
  const kept = await stored(server, room);
  expect(acked.filter((text) => !kept.has(text))).toEqual([]);

  // unibus must know also the peers that reconnected before it did: a revocation disconnects each of them.
  for (const user of users) {
    expect((await call(server.ready.http, admin, "POST", `/users/${user.signPubHex}/revoke`)).status).toBe(204);
  }
  const mark = "for those who are still in";
  await until(
    "no client receives the room any more",
    async () => {
      for (const texts of got) texts.delete(mark);
      sender.publish(room.state.subject, mark);
      await sender.flush();
      return got.every((texts) => !texts.has(mark));
    },
    5_000,
  );
  await Promise.all([...connections, sender].map((connection) => connection.close()));
  await server.end("SIGKILL");
  await until("nats-server ends with it", () => !isAlive(server.natsPid));
}, 60_000);
