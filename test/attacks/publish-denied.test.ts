/**
 * Publishing to subjects without permission: rooms, notices, deliveries, PubAck inboxes, other users' acks.
 * Source: docs/protocol/notices.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { consumerName, deliverSubject, noticeSubject, signalSubject, streamName } from "../../src/wire/names.ts";
import { Server } from "../support/executable.ts";
import { type Cast, castOf, inside, jetStream, replaceConsumer, streamState } from "../support/inside.ts";
import { addMembers, createRoom, dial, history, type OwnRoom, policy } from "../support/peer.ts";
import { hpub, pub, rawPeer } from "../support/raw-nats.ts";

let server: Server;
let people: Cast<"ana" | "bob" | "eve">;
let bus: NatsConnection;
let ours: OwnRoom;
let theirs: OwnRoom;

beforeAll(async () => {
  server = await Server.start();
  people = await castOf(server, "ana", "bob", "eve");
  bus = await inside(server);
  ours = await addMembers(server, await createRoom(server, people.ana, policy("persist")), people.bob);
  theirs = await createRoom(server, people.ana, policy("persist"));
});
afterAll(async () => {
  await bus.close();
  await server[Symbol.asyncDispose]();
});

const ackOf = (room: OwnRoom, endpoint: string) => {
  const { roomId } = room.state;
  return `$JS.ACK.${streamName(roomId)}.${consumerName(roomId, endpoint)}.1.1.1.1.0`;
};

/** Subjects to which a peer in `ours` and not in `theirs` must not publish. */
function forbidden(self: "bob" | "eve"): string[] {
  const { ana } = people;
  const own = people[self].endpoint;
  const [room, other] = [ours.state, theirs.state];
  return [
    ...[other.subject, `${room.subject}.more`, "room.nobodys", "proc.x.y", "rpc.x", "agent.x.in"],
    ...(self === "eve" ? [room.subject, ackOf(ours, own)] : []),
    ...[noticeSubject(ana.endpoint, "joined"), noticeSubject(ana.endpoint, "revoked"), noticeSubject(own, "joined")],
    ...[deliverSubject(ana.endpoint, room.roomId, "main"), deliverSubject(own, room.roomId, "main")],
    ...[`_INBOX.${ana.endpoint}.a.token`, `_INBOX.${own}.a.token`, `_INBOX.${ana.endpoint}`, "_INBOX.r.x"],
    ...[`_INBOX.${ana.endpoint}.x.token`, `_INBOX.${ana.endpoint}.r`, "_R_.abcdef.1"],
    ...["$SYS.REQ.USER.AUTH", "$SYS.REQ.USER.INFO", "$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.PEERS.CONNZ"],
    ...["$SYS.REQ.SERVER.PING.KICK", "$SYS.ACCOUNT.PEERS.CONNECT", "$SRV.PING"],
    ...[ackOf(ours, ana.endpoint), ackOf(theirs, ana.endpoint), ackOf(theirs, own)],
    ...[`$JS.ACK.${streamName(room.roomId)}.x.1.1.1.1.0`, "$JS.ACK.x"],
    ...[signalSubject(room.roomId, ana.endpoint), signalSubject(other.roomId, own), `_SIG.${own}`, "_SIG.x.y"],
    ...(self === "eve" ? [signalSubject(room.roomId, own)] : []),
  ];
}

describe.each(["bob", "eve"] as const)("%s, member and stranger,", (name) => {
  test("may publish to none of the subjects, with headers or without, and no message arrives", async () => {
    using victim = await rawPeer(server.ready.nats, people.ana);
    const listened = [
      ...[signalSubject(ours.state.roomId, "*"), signalSubject(theirs.state.roomId, "*")],
      ...[theirs.state.subject, `_INBOX.${people.ana.endpoint}.>`, noticeSubject(people.ana.endpoint, ">")],
      `_DELIVER.${people.ana.endpoint}.${ours.state.roomId}.*`,
    ];
    await victim.exchange(...listened.map((subject, i) => `SUB ${subject} ${i + 1}\r\n`));
    using peer = await rawPeer(server.ready.nats, people[name]);
    for (const subject of forbidden(name)) {
      for (const message of [pub(subject, "x"), hpub(subject, "NATS/1.0\r\nA: b\r\n\r\n", "x", "_INBOX.x.r.y")]) {
        const said = await peer.exchange(message);
        expect([subject, said]).toEqual([subject, expect.stringContaining("Permissions Violation for Publish to")]);
      }
    }
    expect(await victim.exchange()).toBe("PONG\r\n");
    expect((await streamState(bus, theirs))?.messages).toBe(0);
    expect(await history(server, people.ana, theirs)).toEqual([]);
  });
});

test("a user cannot acknowledge for another, whose messages stay pending", async () => {
  const stream = streamName(ours.state.roomId);
  const own = { room: ours, member: people.ana, config: { ack_wait: 60_000_000_000 } };
  const durable = await replaceConsumer(server, bus, own);
  const ana = await dial(server, people.ana);
  await ana.request(ours.state.subject, "to be read");
  // A delivered message keeps its original subject: only a dedicated subscription receives it.
  const options = { timeout: 5_000, noMux: true };
  const delivered = await bus.request(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${durable}`, "1", options);
  expect(delivered.string()).toBe("to be read");
  const info = () => jetStream<{ num_ack_pending: number }>(bus, `CONSUMER.INFO.${stream}.${durable}`);

  using bob = await rawPeer(server.ready.nats, people.bob);
  for (const word of ["", "+ACK", "+TERM", "+NXT"]) {
    expect(await bob.exchange(pub(delivered.reply ?? "", word))).toContain("Permissions Violation for Publish");
  }
  expect((await info()).num_ack_pending).toBe(1);

  // Ana may acknowledge on the same subject. She does so as a request, so that the answer proves its arrival.
  await ana.request(delivered.reply ?? "", "", { timeout: 5_000 });
  expect((await info()).num_ack_pending).toBe(0);
  await ana.close();
});
