/**
 * Binding, acknowledging, subscribing to or removing another user's durable.
 * Source: docs/protocol/durables.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { consumerName, deliverSubject, streamName } from "../../src/wire/names.ts";
import { Server, until } from "../support/executable.ts";
import { type Cast, castOf, inside, jetStream } from "../support/inside.ts";
import { addMembers, at, call, createRoom, dial, kick, type OwnRoom, policy } from "../support/peer.ts";
import { pub, rawPeer } from "../support/raw-nats.ts";

let server: Server;
let people: Cast<"ana" | "bob" | "eve">;
let bus: NatsConnection;
let room: OwnRoom;

beforeAll(async () => {
  server = await Server.start();
  people = await castOf(server, "ana", "bob", "eve");
  bus = await inside(server);
  room = await addMembers(server, await createRoom(server, people.ana, policy("persist")), people.bob, people.eve);
  expect((await call(server.ready.http, people.bob, "PUT", at(room, "/durable"))).status).toBe(200);
  const ana = await dial(server, people.ana);
  for (const text of ["one", "two"]) await ana.request(room.state.subject, text, { timeout: 5_000, noMux: true });
  await ana.close();
});
afterAll(async () => {
  await bus.close();
  await server[Symbol.asyncDispose]();
});

/** Tries, as eve, every operation on a durable that is not hers. */
async function attack(): Promise<string[]> {
  const { roomId } = room.state;
  const [stream, consumer] = [streamName(roomId), consumerName(roomId, people.bob.endpoint)];
  const attempts = [
    `SUB ${deliverSubject(people.bob.endpoint, roomId, "main")} 1\r\n`,
    `SUB _DELIVER.${people.bob.endpoint}.> 2\r\n`,
    "SUB _DELIVER.> 3\r\n",
    `SUB _DELIVER.*.${roomId}.main 4\r\n`,
    pub(`$JS.ACK.${stream}.${consumer}.1.1.1.1700000000000000000.1`, "+ACK"),
    pub(`$JS.ACK.${stream}.${consumer}.1.1.1.1700000000000000000.1`, "+TERM"),
    pub(`$JS.API.CONSUMER.DELETE.${stream}.${consumer}`, "", `_INBOX.${people.eve.endpoint}.a.x`),
    pub(`$JS.API.CONSUMER.INFO.${stream}.${consumer}`, "", `_INBOX.${people.eve.endpoint}.a.x`),
    pub(deliverSubject(people.bob.endpoint, roomId, "main"), "forged"),
  ];
  using eve = await rawPeer(server.ready.nats, people.eve);
  const answers: string[] = [];
  for (const attempt of attempts) answers.push(await eve.exchange(attempt));
  expect(eve.received).not.toContain("MSG ");
  return answers;
}

const pending = async () => {
  const subject = `CONSUMER.INFO.${streamName(room.state.roomId)}.${consumerName(room.state.roomId, people.bob.endpoint)}`;
  return jetStream<{ num_pending: number; ack_floor: { stream_seq: number } }>(bus, subject);
};

test("a member has no access to another's durable, and none to their own after a kick", async () => {
  const refused = expect.stringContaining("-ERR 'Permissions Violation");
  expect(await attack()).toEqual(Array(9).fill(refused));
  // The routes address only the caller's own durables.
  expect((await call(server.ready.http, people.eve, "DELETE", at(room, "/durable"))).status).toBe(204);
  expect((await pending()).ack_floor.stream_seq).toBe(0);
  room = await kick(server, room, people.eve, people.ana, people.bob);
  expect(await attack()).toEqual(Array(9).fill(refused));
  expect((await call(server.ready.http, people.eve, "DELETE", at(room, "/durable"))).status).toBe(403);
  expect(await pending()).toMatchObject({ num_pending: 2, ack_floor: { stream_seq: 0 } });

  using bob = await rawPeer(server.ready.nats, people.bob);
  await bob.exchange(`SUB ${deliverSubject(people.bob.endpoint, room.state.roomId, "main")} 1\r\n`);
  await until("bob has received both", () => bob.received.includes("one") && bob.received.includes("two"));
});
