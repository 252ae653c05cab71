/**
 * Peers must not be able to read or destroy JetStream data through its API.
 * Source: docs/protocol/logins.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { consumerName, streamName } from "../../src/wire/names.ts";
import { Server } from "../support/executable.ts";
import { type Cast, castOf, inside, jetStream, streamState } from "../support/inside.ts";
import { addMembers, createRoom, dial, history, type OwnRoom, policy } from "../support/peer.ts";
import { pub, type RawNats, rawPeer } from "../support/raw-nats.ts";

let server: Server;
let people: Cast<"ana" | "bob" | "eve">;
let bus: NatsConnection;
let control: NatsConnection;
let room: OwnRoom;
const frames = ["one", "two", "three"].map((text) => Buffer.from(text));
const bucket = "UNIBUS_users";

beforeAll(async () => {
  server = await Server.start();
  people = await castOf(server, "ana", "bob", "eve");
  [bus, control] = await Promise.all([inside(server, "BUS"), inside(server, "CTL")]);
  const made = await createRoom(server, people.ana, policy("persist"));
  room = await addMembers(server, made, people.bob);
  const ana = await dial(server, people.ana);
  for (const frame of frames) await ana.request(room.state.subject, frame);
  await ana.close();
  const stream = streamName(room.state.roomId);
  const durable = consumerName(room.state.roomId, people.ana.endpoint);
  const config = { durable_name: durable, ack_policy: "explicit" };
  await jetStream(bus, `CONSUMER.DURABLE.CREATE.${stream}.${durable}`, { stream_name: stream, config });
  // A bucket like those of the replicated control plane.
  const kv = { name: `KV_${bucket}`, subjects: [`$KV.${bucket}.>`], storage: "file", allow_direct: true };
  await jetStream(control, `STREAM.CREATE.${kv.name}`, kv);
  await control.request(`$KV.${bucket}.secret`, "a user");
});
afterAll(async () => {
  await Promise.all([bus.close(), control.close()]);
  await server[Symbol.asyncDispose]();
});

/** Subjects and payloads of API calls, grouped by effect. */
function calls(): [subject: string, payload: string][] {
  const stream = streamName(room.state.roomId);
  const durable = consumerName(room.state.roomId, people.ana.endpoint);
  const create = JSON.stringify({ name: "EVIL", subjects: ["room.>"] });
  const consumer = JSON.stringify({ stream_name: stream, config: { ack_policy: "none", deliver_subject: "x" } });
  const room_ = room.state.subject;
  return [
    ["INFO", ""],
    ["ACCOUNT.INFO", ""],
    ["STREAM.NAMES", ""],
    ["STREAM.LIST", ""],
    [`STREAM.INFO.${stream}`, ""],
    ["STREAM.CREATE.EVIL", create],
    [`STREAM.UPDATE.${stream}`, JSON.stringify({ name: stream, subjects: [room_], max_msgs: 1 })],
    [`STREAM.PURGE.${stream}`, ""],
    [`STREAM.DELETE.${stream}`, ""],
    [`STREAM.SNAPSHOT.${stream}`, JSON.stringify({ deliver_subject: "_INBOX.x" })],
    [`STREAM.MSG.GET.${stream}`, JSON.stringify({ seq: 1 })],
    [`STREAM.MSG.DELETE.${stream}`, JSON.stringify({ seq: 1 })],
    [`DIRECT.GET.${stream}`, JSON.stringify({ seq: 1 })],
    [`DIRECT.GET.${stream}.${room_}`, ""],
    [`CONSUMER.NAMES.${stream}`, ""],
    [`CONSUMER.CREATE.${stream}`, consumer],
    [`CONSUMER.CREATE.${stream}.mine`, consumer],
    [`CONSUMER.CREATE.${stream}.mine.${room_}`, consumer],
    [`CONSUMER.DURABLE.CREATE.${stream}.mine`, consumer],
    [`CONSUMER.INFO.${stream}.${durable}`, ""],
    [`CONSUMER.MSG.NEXT.${stream}.${durable}`, "10"],
    [`CONSUMER.PAUSE.${stream}.${durable}`, JSON.stringify({ pause_until: "2999-01-01T00:00:00Z" })],
    [`CONSUMER.DELETE.${stream}.${durable}`, ""],
    [`STREAM.INFO.KV_${bucket}`, ""],
    [`STREAM.MSG.GET.KV_${bucket}`, JSON.stringify({ last_by_subj: `$KV.${bucket}.secret` })],
    [`DIRECT.GET.KV_${bucket}.$KV.${bucket}.secret`, ""],
    [`STREAM.PURGE.KV_${bucket}`, ""],
    ["STREAM.CREATE.OBJ_UNIBUS_blobs", JSON.stringify({ name: "OBJ_UNIBUS_blobs", subjects: ["$O.UNIBUS_blobs.>"] })],
  ].map(([subject, payload]) => [`$JS.API.${subject}`, payload ?? ""]);
}
const elsewhere = [
  `$KV.${bucket}.secret`,
  "$O.UNIBUS_blobs.C.x",
  "$JS.CTL.API.INFO",
  "$JS.BUS.API.INFO",
  "$JS.FC.x",
  "$JS.EVENT.ADVISORY.x",
  "$JSC.x",
];

async function refused(peer: RawNats, subject: string, payload: string, reply: string): Promise<string> {
  return peer.exchange(pub(subject, payload, reply));
}

describe.each(["ana", "bob", "eve"] as const)("%s, owner, member and stranger alike,", (who) => {
  test("gets no answer from the API, and no message through it", async () => {
    using peer = await rawPeer(server.ready.nats, people[who]);
    const inbox = `_INBOX.${people[who].endpoint}.a.reply`;
    expect(await peer.exchange(`SUB ${inbox} 1\r\n`)).toBe("PONG\r\n");
    for (const [subject, payload] of [...calls(), ...elsewhere.map((name): [string, string] => [name, "x"])]) {
      const said = await refused(peer, subject, payload, inbox);
      expect([subject, said]).toEqual([subject, expect.stringContaining("Permissions Violation for Publish to")]);
    }
    expect(peer.received).not.toContain(`MSG ${inbox}`);
  });
});

test("no message was lost or added, and unibus itself can use the API", async () => {
  expect(await history(server, people.bob, room)).toEqual(frames);
  expect(await streamState(bus, room)).toMatchObject({ messages: 3, last_seq: 3, consumer_count: 1 });
  expect((await jetStream<{ streams: string[] }>(bus, "STREAM.NAMES")).streams).toEqual([
    streamName(room.state.roomId),
  ]);
  const kept = await jetStream<{ state: { messages: number } }>(control, `STREAM.INFO.KV_${bucket}`);
  expect(kept.state.messages).toBe(1);
  expect((await jetStream<{ streams: string[] }>(control, "STREAM.NAMES")).streams).toEqual([`KV_${bucket}`]);
});
