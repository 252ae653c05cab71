/**
 * A member who is kicked, who leaves, or whose room is deleted loses the room on its live connection, in new logins, in
 * its durable and in its deliveries. The tests also cover races: a login in progress during the kick, and a kick whose
 * notice is lost. The remaining members are not interrupted. Source: docs/protocol/notices.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { Nats } from "../../src/contracts/nats.ts";
import { Rooms } from "../../src/contracts/rooms.ts";
import { consumerName, deliverSubject, streamName } from "../../src/wire/names.ts";
import { Server, until } from "../support/executable.ts";
import { bootInProcess } from "../support/in-process.ts";
import { type Cast, castOf, inside, streamState } from "../support/inside.ts";
import {
  addMembers,
  at,
  call,
  createRoom,
  dial,
  freshSubject,
  history,
  kick,
  leave,
  type OwnRoom,
  policy,
  refusalsOf,
} from "../support/peer.ts";
import { loginOf, pub, RawNats, rawPeer } from "../support/raw-nats.ts";

let server: Server;
let people: Cast<"ana" | "bob" | "cleo">;
let bus: NatsConnection;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=100000"] });
  people = await castOf(server, "ana", "bob", "cleo");
  bus = await inside(server);
});
afterAll(async () => {
  await bus.close();
  await server[Symbol.asyncDispose]();
});

async function roomOf(): Promise<OwnRoom> {
  return addMembers(server, await createRoom(server, people.ana, policy("persist")), people.bob, people.cleo);
}

const ways = {
  "was kicked": (room: OwnRoom) => kick(server, room, people.bob, people.ana, people.cleo),
  left: async (room: OwnRoom) => expect((await leave(server, room, people.bob)).status).toBe(204),
  "lost the room by its deletion": async (room: OwnRoom) =>
    expect((await call(server.ready.http, people.ana, "DELETE", at(room))).status).toBe(204),
};

describe("a member who", () => {
  for (const [what, act] of Object.entries(ways)) {
    test(`${what} has full access before, and none after`, async () => {
      const { bob } = people;
      const room = await roomOf();
      const { roomId, subject } = room.state;
      const consumer = consumerName(roomId, bob.endpoint);
      const deliver = deliverSubject(bob.endpoint, roomId, "main");
      const ack = `$JS.ACK.${streamName(roomId)}.${consumer}.1.1.1.1700000000000000000.0`;
      const attempts = [pub(subject, "x"), pub(ack, "+ACK"), `SUB ${subject} 1\r\n`];
      const delivery = `SUB ${deliver} 2\r\n`;
      expect((await call(server.ready.http, bob, "PUT", at(room, "/durable"))).status).toBe(200);
      const ana = await dial(server, people.ana);

      using before = await rawPeer(server.ready.nats, bob);
      using overWs = await rawPeer(server.ready.ws, bob);
      for (const attempt of [...attempts, delivery]) {
        expect(await before.exchange(attempt)).not.toContain("-ERR");
        expect(await overWs.exchange(attempt)).not.toContain("-ERR");
      }
      await ana.request(subject, "before", { timeout: 5_000, noMux: true });
      await until("the message arrived live and by the durable", () => before.received.split("before").length > 2);
      const stored = await streamState(bus, room);

      await act(room);
      await until("both connections are closed", () => before.isClosed && overWs.isClosed, 2_000);
      const marks = [before.received.length, overWs.received.length];
      // Deleting the room disconnects ana, too.
      await ana.close();
      const later = await dial(server, people.ana);
      later.publish(subject, "after");
      await later.flush();
      expect(before.received.slice(marks[0]) + overWs.received.slice(marks[1])).toBe("");

      using after = await rawPeer(server.ready.nats, bob);
      for (const attempt of attempts) expect(await after.exchange(attempt)).toContain("-ERR 'Permissions Violation");
      // The user still owns the inbox and the delivery subject, but nothing is delivered there.
      expect(await after.exchange(delivery)).not.toContain("-ERR");
      expect(await after.exchange(`SUB _INBOX.${bob.endpoint}.> 9\r\n`)).not.toContain("-ERR");
      later.publish(subject, "after");
      await later.flush();
      expect(await after.exchange()).not.toContain("after");
      const then = await streamState(bus, room);
      if (then !== null) expect(then.messages).toBeLessThanOrEqual((stored?.messages ?? 0) + 2);
      await later.close();
    });
  }

  test("was kicked leaves the other members undisturbed", async () => {
    const room = await roomOf();
    const [ana, cleo] = await Promise.all([dial(server, people.ana), dial(server, people.cleo)]);
    const bob = await rawPeer(server.ready.nats, people.bob);
    await bob.exchange(`SUB ${room.state.subject} 1\r\n`);
    const got: string[] = [];
    cleo.subscribe(room.state.subject, { callback: (_, message) => void got.push(message.string()) });
    await cleo.flush();
    let sent = 0;
    let isKicked = false;
    const kicking = kick(server, room, people.bob, people.ana, people.cleo).then(() => {
      isKicked = true;
    });
    while (!isKicked || !bob.isClosed) {
      ana.publish(room.state.subject, `m${sent++}`);
      await ana.flush();
    }
    await kicking;
    await until("cleo has received all", () => got.length >= sent);
    expect(got).toEqual(Array.from({ length: sent }, (_, index) => `m${index}`));
    // What bob received before the disconnect is a gapless prefix of what was sent, and shorter.
    expect(bob.received.split(`MSG ${room.state.subject} `).length - 1).toBeLessThanOrEqual(sent);
    await Promise.all([ana.close(), cleo.close()]);
    expect((await history(server, people.ana, room, "?limit=1000")).length).toBe(Math.min(sent, 1000));
  });

  test("was removed cannot read the next room of the same subject on the old connection", async () => {
    const subject = freshSubject();
    const room = await addMembers(server, await createRoom(server, people.ana, policy(), subject), people.bob);
    using bob = await rawPeer(server.ready.nats, people.bob);
    await bob.exchange(`SUB ${subject} 1\r\n`);
    expect((await call(server.ready.http, people.ana, "DELETE", at(room))).status).toBe(204);
    await createRoom(server, people.cleo, policy(), subject);
    await until("bob is disconnected", () => bob.isClosed, 2_000);
    const cleo = await dial(server, people.cleo);
    cleo.publish(subject, "secret");
    await cleo.drain();
    expect(bob.received).not.toContain("secret");
  });
});

describe("a login in progress", () => {
  test("that is authorized before the kick and completes after it is closed when it connects", async () => {
    let gate: Promise<void> | null = null;
    let reached: () => void = () => undefined;
    const held = (service: object) => {
      const rooms = service as Rooms;
      const accepted: Rooms["accepted"] = async (endpoint) => {
        const memberships = await rooms.accepted(endpoint);
        const waiting = gate;
        if (waiting !== null) {
          gate = null;
          reached();
          await waiting;
        }
        return memberships;
      };
      return { ...rooms, accepted };
    };
    await using slow = await bootInProcess({ between: { [Rooms.id]: held } });
    const cast = await castOf(slow.server, "ana", "bob");
    const room = await addMembers(slow.server, await createRoom(slow.server, cast.ana, policy()), cast.bob);
    const opened = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    gate = opened.promise;
    reached = asked.resolve;
    using bob = await RawNats.open(slow.server.ready.nats);
    const loggingIn = bob.login(loginOf(cast.bob, bob));
    await asked.promise;
    await kick(slow.server, room, cast.bob, cast.ana);
    opened.resolve();
    await loggingIn;
    await until("bob is disconnected", () => bob.isClosed, 2_000);
    using again = await rawPeer(slow.server.ready.nats, cast.bob);
    expect(await again.exchange(`SUB ${room.state.subject} 1\r\n`)).toContain("-ERR 'Permissions Violation");
  }, 20_000);

  test("during the kick never keeps the removed permissions", async () => {
    for (let round = 0; round < 15; round++) {
      const room = await roomOf();
      const raw = await RawNats.open(server.ready.nats);
      const [refusal] = await Promise.all([
        raw.login(loginOf(people.bob, raw)),
        kick(server, room, people.bob, people.ana, people.cleo),
      ]);
      expect(refusal).toBeOneOf(["", "hung up"]);
      await until(
        "the connection is closed, or never had the room",
        async () => {
          if (raw.isClosed) return true;
          return (await raw.exchange(`SUB ${room.state.subject} 1\r\n`)).includes("Permissions Violation");
        },
        2_000,
      );
      raw[Symbol.dispose]();
    }
  }, 20_000);
});

test("a kick whose notice is lost still disconnects, a little later", async () => {
  const silent = (service: object) => {
    const nats = service as Nats;
    const connection: Nats["connection"] = async (account) => {
      const made = await nats.connection(account);
      if (account !== "BUS") return made;
      return new Proxy(made, {
        get(target, name) {
          const member: unknown = Reflect.get(target, name, target);
          if (typeof member !== "function") return member;
          if (name === "publish")
            return (subject: string, ...rest: unknown[]) =>
              subject.startsWith("unibus.user.") ? undefined : Reflect.apply(member, target, [subject, ...rest]);
          return (...values: unknown[]): unknown => Reflect.apply(member, target, values);
        },
      });
    };
    return { ...nats, connection };
  };
  await using mute = await bootInProcess({ between: { [Nats.id]: silent } });
  const cast = await castOf(mute.server, "ana", "bob");
  const room = await addMembers(mute.server, await createRoom(mute.server, cast.ana, policy()), cast.bob);
  const system = await inside(mute.server, "SYS");
  let connects = 0;
  system.subscribe("$SYS.ACCOUNT.PEERS.CONNECT", { callback: () => void connects++ });
  await system.flush();
  const bob = await dial(mute.server, cast.bob);
  const closed = bob.closed();
  // The check of the login itself must be over, or it would disconnect bob.
  await until("bob's connection is known", () => connects > 0);
  await system.drain();
  await Promise.all(Array.from({ length: 20 }, () => call(mute.server.ready.http, cast.ana, "GET", at(room))));
  await kick(mute.server, room, cast.bob, cast.ana);
  await closed;
  const back = await dial(mute.server, cast.bob);
  const refusals = refusalsOf(back);
  back.publish(room.state.subject, "x");
  await until("the message is refused", () => refusals.some((text) => /permission/i.test(text)));
  await back.close();
}, 30_000);
