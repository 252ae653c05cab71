/**
 * Durables: a device receives what it missed, keeps its own consumer, and loses it when its member leaves, is kicked or
 * revoked. Consumers left by a crash are removed at the next boot. Source: docs/protocol/durables.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { consumerName, deliverSubject, streamName } from "../../src/wire/names.ts";
import { Folder, Server, until } from "../support/executable.ts";
import { type Cast, castOf, inside, jetStream } from "../support/inside.ts";
import {
  addMembers,
  at,
  call,
  createRoom,
  dial,
  kick,
  leave,
  noticesOf,
  type OwnRoom,
  policy,
  type Reply,
  refusalsOf,
} from "../support/peer.ts";

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

const ask = (method: "PUT" | "DELETE", user: Identity, room: OwnRoom, device?: string): Promise<Reply> => {
  const query = device === undefined ? "" : `?device=${device}`;
  return call(server.ready.http, user, method, at(room, `/durable${query}`));
};

async function consumers(connection: NatsConnection, { state }: OwnRoom): Promise<string[]> {
  const subject = `CONSUMER.NAMES.${streamName(state.roomId)}`;
  return (await jetStream<{ consumers?: string[] | null }>(connection, subject)).consumers ?? [];
}

async function roomOf(...members: Identity[]): Promise<OwnRoom> {
  const room = await createRoom(server, people.ana, policy("persist"));
  return members.length === 0 ? room : addMembers(server, room, ...members);
}

async function publish(room: OwnRoom, texts: readonly string[]): Promise<void> {
  const sender = await dial(server, people.ana);
  for (const text of texts) sender.publish(room.state.subject, text);
  await sender.drain();
}

const numbered = (name: string, count: number) => Array.from({ length: count }, (_, index) => `${name} ${index}`);

/** A connected device, with the messages it received. It acks them unless `acks` is false. */
async function device(
  user: Identity,
  room: OwnRoom,
  options: { name?: string; acks?: boolean; dialsFirst?: boolean } = {},
) {
  const { name = "main", acks = true, dialsFirst = false } = options;
  // A login may acknowledge for the devices that existed at that time.
  if (!dialsFirst) expect((await ask("PUT", user, room, name)).status).toBe(200);
  const connection = await dial(server, user);
  const refusals = refusalsOf(connection);
  const got: string[] = [];
  connection.subscribe(deliverSubject(user.endpoint, room.state.roomId, name), {
    callback: (_, message) => {
      got.push(message.string());
      if (acks && message.reply !== undefined) connection.publish(message.reply, "+ACK");
    },
  });
  await connection.flush();
  const bound = await ask("PUT", user, room, name);
  expect(bound.status).toBe(200);
  return { connection, got, refusals };
}

describe("a device", () => {
  test("gets the backlog when it first binds, later what it missed, and what it did not acknowledge", async () => {
    const room = await roomOf(people.bob);
    const backlog = numbered("before", 100);
    await publish(room, backlog);
    const first = await device(people.bob, room);
    await until("the backlog is delivered", () => first.got.length >= 100);
    expect(first.got).toEqual(backlog);
    await first.connection.drain();

    const missed = numbered("missed", 500);
    await publish(room, missed);
    const second = await device(people.bob, room);
    await until("all missed messages are delivered", () => second.got.length >= 500);
    await second.connection.flush();
    expect(second.got).toEqual(missed);
    await second.connection.drain();

    // It receives a message and disconnects before the ack.
    const third = await device(people.bob, room, { acks: false });
    await publish(room, ["in flight"]);
    await until("it has received the message", () => third.got.length > 0);
    await third.connection.close();
    const fourth = await device(people.bob, room);
    await until("the message is delivered again", () => fourth.got.length > 0, 25_000);
    expect(fourth.got).toEqual(["in flight"]);
    await fourth.connection.close();
  }, 60_000);

  test("has a consumer named after its member and itself, and other devices do not disturb it", async () => {
    const room = await roomOf(people.bob, people.cleo);
    const { roomId } = room.state;
    const { endpoint } = people.bob;
    const bound = await ask("PUT", people.bob, room);
    const main = consumerName(roomId, endpoint);
    expect(bound.json).toEqual({
      stream: streamName(roomId),
      consumer: main,
      deliver: `_DELIVER.${endpoint}.${roomId}.main`,
    });
    const phone = await ask("PUT", people.bob, room, "phone");
    const deliver = `_DELIVER.${endpoint}.${roomId}.phone`;
    expect(phone.json).toEqual({ stream: streamName(roomId), consumer: `${main}_phone`, deliver });
    expect((await ask("PUT", people.cleo, room)).status).toBe(200);
    // The second call finds the device instead of creating it.
    expect((await ask("PUT", people.bob, room, "phone")).json).toEqual(phone.json);
    const all = [main, `${main}_phone`, consumerName(roomId, people.cleo.endpoint)];
    expect((await consumers(bus, room)).sort()).toEqual(all.sort());

    expect((await ask("DELETE", people.bob, room, "phone")).status).toBe(204);
    await until("the phone's consumer is deleted", async () => (await consumers(bus, room)).length === 2);
    expect(await consumers(bus, room)).not.toContain(`${main}_phone`);
    expect((await ask("DELETE", people.bob, room, "unknown")).status).toBe(204);
    expect((await consumers(bus, room)).length).toBe(2);
  });

  test.each(["main", "tablet"])(
    "%s that is new sends a notice, and a later connection may acknowledge",
    async (name) => {
      const room = await roomOf(people.bob);
      await publish(room, ["one"]);
      const watching = await dial(server, people.bob);
      const notices = await noticesOf(watching, people.bob);
      const early = await device(people.bob, room, { name, dialsFirst: true });
      await until("the notice arrived", () => notices.includes(`durable ${room.state.roomId}`));
      await until("the message arrived", () => early.got.includes("one"));
      // It logged in before the device existed, so it may receive but not acknowledge.
      await until("the ack is refused", () => early.refusals.some((text) => /permission/i.test(text)));
      await early.connection.close();
      const late = await device(people.bob, room, { name });
      await until("the message is delivered again", () => late.got.includes("one"), 25_000);
      await late.connection.flush();
      expect(late.refusals).toEqual([]);
      const info = `CONSUMER.INFO.${streamName(room.state.roomId)}.${consumerName(room.state.roomId, people.bob.endpoint, name)}`;
      await until("the ack takes effect", async () => {
        return (await jetStream<{ num_ack_pending: number }>(bus, info)).num_ack_pending === 0;
      });
      // Connecting a known device sends no notice.
      expect(notices.filter((notice) => notice.startsWith("durable"))).toHaveLength(1);
      await Promise.all([late.connection.close(), watching.close()]);
    },
    40_000,
  );

  test("is one of at most eight", async () => {
    const room = await roomOf(people.bob);
    const names = [undefined, "d1", "d2", "d3", "d4", "d5", "d6", "d7"];
    for (const name of names) expect((await ask("PUT", people.bob, room, name)).status).toBe(200);
    const ninth = await ask("PUT", people.bob, room, "d8");
    expect([ninth.status, ninth.json.code]).toEqual([429, "quota"]);
    expect((await ask("PUT", people.bob, room, "d7")).status).toBe(200);
    expect((await ask("DELETE", people.bob, room, "d1")).status).toBe(204);
    expect((await ask("PUT", people.bob, room, "d8")).status).toBe(200);
    await until("eight consumers exist", async () => (await consumers(bus, room)).length === 8);
  });

  test("is refused for an invalid name, in a room without persistence, and to strangers", async () => {
    const room = await roomOf();
    for (const name of ["Phone", "a-b", "a.b", "*", "%3E", "a".repeat(17), ""]) {
      expect([name, (await ask("PUT", people.ana, room, name)).status]).toEqual([name, 400]);
    }
    const plain = await createRoom(server, people.ana, policy());
    for (const method of ["PUT", "DELETE"] as const) {
      expect((await ask(method, people.ana, plain)).json).toMatchObject({ code: "conflict" });
      expect((await ask(method, people.bob, room)).json).toMatchObject({ code: "forbidden" });
    }
    expect(await consumers(bus, room)).toEqual([]);
  });
});

const ways = {
  kicked: (room: OwnRoom) => kick(server, room, people.bob, people.ana, people.cleo),
  gone: async (room: OwnRoom) => expect((await leave(server, room, people.bob)).status).toBe(204),
};

for (const [what, act] of Object.entries(ways)) {
  test(`the devices of a member who is ${what} are deleted, and receive nothing`, async () => {
    const room = await roomOf(people.bob, people.cleo);
    const main = await device(people.bob, room);
    expect((await ask("PUT", people.bob, room, "phone")).status).toBe(200);
    expect((await ask("PUT", people.cleo, room)).status).toBe(200);
    const closed = main.connection.closed();
    await act(room);
    await closed;
    const left = [consumerName(room.state.roomId, people.cleo.endpoint)];
    await until("bob's consumers are deleted", async () => (await consumers(bus, room)).length === 1);
    expect(await consumers(bus, room)).toEqual(left);
    expect((await ask("PUT", people.bob, room)).status).toBe(403);
    await publish(room, ["after"]);

    const back = await dial(server, people.bob);
    const got: string[] = [];
    const subject = deliverSubject(people.bob.endpoint, room.state.roomId, "main");
    back.subscribe(subject, { callback: (error, message) => void (error ?? got.push(message.string())) });
    await back.flush();
    await publish(room, ["later"]);
    await until("cleo's device received what was published", async () => {
      const info = `CONSUMER.INFO.${streamName(room.state.roomId)}.${left[0]}`;
      return (await jetStream<{ num_pending: number }>(bus, info)).num_pending === 2;
    });
    await back.flush();
    expect(got).toEqual([]);
    expect(main.got).toEqual([]);
    await back.close();
    expect(await consumers(bus, room)).toEqual(left);
  }, 20_000);
}

test("a durable that survived a crash during its removal is deleted at the next boot", async () => {
  using folder = new Folder();
  const before = await Server.start({ folder });
  const cast = await castOf(before, "ana", "bob");
  const room = await addMembers(before, await createRoom(before, cast.ana, policy("persist")), cast.bob);
  await kick(before, room, cast.bob, cast.ana);
  const stream = streamName(room.state.roomId);
  const survivor = consumerName(room.state.roomId, cast.bob.endpoint);
  const owned = await call(before.ready.http, cast.ana, "PUT", at(room, "/durable"));
  expect(owned.status).toBe(200);
  const connection = await inside(before);
  await until("bob has no consumer", async () => !(await consumers(connection, room)).includes(survivor));
  // Simulates a crash between the commit and the removal.
  const deliver = deliverSubject(cast.bob.endpoint, room.state.roomId, "main");
  const config = { durable_name: survivor, deliver_subject: deliver, ack_policy: "explicit" };
  await jetStream(connection, `CONSUMER.DURABLE.CREATE.${stream}.${survivor}`, { stream_name: stream, config });
  expect(await consumers(connection, room)).toContain(survivor);
  await connection.close();
  await before.end("SIGKILL");

  await using after = await Server.start({ folder });
  const again = await inside(after);
  await until("the surviving durable is deleted", async () => !(await consumers(again, room)).includes(survivor));
  expect(await consumers(again, room)).toEqual([consumerName(room.state.roomId, cast.ana.endpoint)]);
  await again.close();
}, 40_000);
