/**
 * A publish whose reply subject is another room: nothing may reach that room's stream.
 * Source: docs/protocol/logins.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { streamName } from "../../src/wire/names.ts";
import { Server, until } from "../support/executable.ts";
import { type Cast, castOf, inside, jetStream, replaceConsumer, streamState } from "../support/inside.ts";
import { createRoom, dial, history, type OwnRoom, policy } from "../support/peer.ts";
import { hpub, pub, type RawNats, rawPeer } from "../support/raw-nats.ts";

let server: Server;
let people: Cast<"mallory" | "victor">;
let bus: NatsConnection;
let mallory: RawNats;
let mine: OwnRoom;

beforeAll(async () => {
  server = await Server.start();
  people = await castOf(server, "mallory", "victor");
  bus = await inside(server);
  mine = await createRoom(server, people.mallory, policy("persist"));
  mallory = await rawPeer(server.ready.nats, people.mallory);
});
afterAll(async () => {
  mallory[Symbol.dispose]();
  await bus.close();
  await server[Symbol.asyncDispose]();
});

/**
 * Waits until JetStream has answered everything published so far. It answers a stream's messages in order, so the
 * answer to one more message, sent to an inbox, arrives last.
 */
async function answersAreOut(): Promise<void> {
  subscriptions += 1;
  const inbox = `_INBOX.${people.mallory.endpoint}.a.${crypto.randomUUID()}`;
  await mallory.exchange(`SUB ${inbox} ${subscriptions}\r\n`, pub(mine.state.subject, "last", inbox));
  await until("the last answer arrived", () => mallory.received.includes(`MSG ${inbox} `));
}
let subscriptions = 0;

/** Expects the victim's room to be empty and the owner's first frame to be the first in the stream. */
async function expectUntouched(victim: OwnRoom): Promise<void> {
  expect(await history(server, people.victor, victim)).toEqual([]);
  expect((await streamState(bus, victim))?.messages).toBe(0);
  const owner = await dial(server, people.victor);
  const ack = (await owner.request(victim.state.subject, "mine")).json<{ stream: string; seq: number }>();
  await owner.close();
  expect(ack).toMatchObject({ stream: streamName(victim.state.roomId), seq: 1 });
  expect(await history(server, people.victor, victim)).toEqual([Buffer.from("mine")]);
}

const publishes: Readonly<Record<string, (own: string, victim: string) => Buffer>> = {
  "a publish": (own, victim) => pub(own, "bait", victim),
  "a publish with headers": (own, victim) => hpub(own, "NATS/1.0\r\nX: y\r\n\r\n", "bait", victim),
  "a publish with a Nats-Msg-Id": (own, victim) => hpub(own, "NATS/1.0\r\nNats-Msg-Id: twice\r\n\r\n", "bait", victim),
  "a publish that JetStream refuses": (own, victim) =>
    hpub(own, "NATS/1.0\r\nNats-Expected-Last-Sequence: 999\r\n\r\n", "bait", victim),
  "a publish that asks for a rollup": (own, victim) =>
    hpub(own, "NATS/1.0\r\nNats-Rollup: all\r\n\r\n", "bait", victim),
  "an empty publish": (own, victim) => pub(own, "", victim),
};

for (const [what, attack] of Object.entries(publishes)) {
  test(`${what} makes JetStream reply into no other room`, async () => {
    const victim = await createRoom(server, people.victor, policy("persist"));
    const answered = (await streamState(bus, mine))?.last_seq ?? 0;
    for (let i = 0; i < 20; i++) mallory.write(attack(mine.state.subject, victim.state.subject));
    await answersAreOut();
    // JetStream answered the publishes: there were answers to misdirect.
    expect((await streamState(bus, mine))?.last_seq).toBeGreaterThan(answered);
    await expectUntouched(victim);
  });
}

test("an ack of one's own consumer makes JetStream reply into no other room", async () => {
  const victim = await createRoom(server, people.victor, policy("persist"));
  const stream = streamName(mine.state.roomId);
  const own = { room: mine, member: people.mallory, config: { max_ack_pending: 100 } };
  const consumer = await replaceConsumer(server, bus, own);
  using acking = await rawPeer(server.ready.nats, people.mallory);
  const reply = bus.subscribe("take.>");
  bus.publish(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`, JSON.stringify({ batch: 3 }), { reply: "take.one" });
  const acks: string[] = [];
  for await (const message of reply) {
    acks.push(message.reply ?? "");
    if (acks.length === 3) break;
  }
  expect(acks.every((ack) => ack.startsWith(`$JS.ACK.${stream}.${consumer}.`))).toBe(true);
  const pending = async () =>
    (await jetStream<{ num_ack_pending: number }>(bus, `CONSUMER.INFO.${stream}.${consumer}`)).num_ack_pending;
  expect(await pending()).toBe(3);

  // +NXT asks for the next message on the reply subject; an +ACK with a reply subject asks for an answer there.
  const said = await acking.exchange(
    ...["+NXT", "+NXT 50", '+NXT {"batch":50}', "+ACK", "+WPI"].flatMap((word, i) =>
      [acks[i % 3] ?? "", acks[(i + 1) % 3] ?? ""].map((ack) => pub(ack, word, victim.state.subject)),
    ),
  );
  expect(said).not.toContain("-ERR");
  await until("the acks are processed", async () => (await pending()) !== 3);
  await answersAreOut();
  await expectUntouched(victim);
});

test("a request whose reply subject its sender may not subscribe to reaches no other room", async () => {
  const victim = await createRoom(server, people.victor, policy("persist"));
  const quiet = await createRoom(server, people.mallory, policy());
  using second = await rawPeer(server.ready.nats, people.mallory);
  // A room that is not persisted has no responder: nats-server itself would say so on the reply subject.
  const said = await second.exchange(pub(quiet.state.subject, "anybody?", victim.state.subject));
  expect(said).not.toContain("MSG ");
  await answersAreOut();
  await expectUntouched(victim);
});
