/**
 * Attacks on acknowledgements: forging a PubAck for a frame that was not stored, and guessing its reply inbox.
 * Source: docs/protocol/logins.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { streamName } from "../../src/wire/names.ts";
import { Server } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { addMembers, createRoom, dial, type OwnRoom, policy } from "../support/peer.ts";
import { hpub, pub, rawPeer } from "../support/raw-nats.ts";

let server: Server;
let people: Cast<"ana" | "mallory">;
let shared: OwnRoom;
let own: OwnRoom;

beforeAll(async () => {
  server = await Server.start();
  people = await castOf(server, "ana", "mallory");
  shared = await addMembers(server, await createRoom(server, people.ana, policy("persist")), people.mallory);
  own = await createRoom(server, people.mallory, policy("persist"));
});
afterAll(() => server[Symbol.asyncDispose]());

const inboxOf = (token: string) => `_INBOX.${people.ana.endpoint}.a.${token}`;
const forged = () => JSON.stringify({ stream: streamName(shared.state.roomId), seq: 1 });

describe("an inbox of PubAcks, even if its token is known,", () => {
  test("accepts nothing from a user", async () => {
    using ana = await rawPeer(server.ready.nats, people.ana);
    const inbox = inboxOf("known");
    await ana.exchange(`SUB ${inbox} 1\r\n`);
    using mallory = await rawPeer(server.ready.nats, people.mallory);
    for (const message of [pub(inbox, forged()), hpub(inbox, "NATS/1.0\r\nA: b\r\n\r\n", forged())]) {
      expect(await mallory.exchange(message)).toContain("Permissions Violation for Publish");
    }
    expect(await ana.exchange()).toBe("PONG\r\n");

    // JetStream answers the owner's own publish on that inbox.
    await ana.exchange(pub(shared.state.subject, "mine", inbox));
    const connection = await dial(server, people.ana);
    await connection.request(shared.state.subject, "and one more");
    await connection.close();
    expect(await ana.exchange()).toContain("PONG");
    expect(ana.received).toContain(streamName(shared.state.roomId));
  });

  test("receives from another room at most that room's own PubAck, which names its stream", async () => {
    using ana = await rawPeer(server.ready.nats, people.ana);
    const inbox = inboxOf("misdirected");
    await ana.exchange(`SUB ${inbox} 1\r\n`);
    const connection = await dial(server, people.mallory);
    connection.publish(own.state.subject, "bait", { reply: inbox });
    connection.publish(own.state.subject, forged(), { reply: inbox });
    // JetStream answers the messages of one stream in order: after this answer, the earlier ones have been sent.
    await connection.request(own.state.subject, "last");
    await connection.close();
    await ana.exchange();
    expect(ana.received).not.toContain(streamName(shared.state.roomId));
    for (const answer of ana.received.match(/\{"stream".*\}/g) ?? []) {
      expect(JSON.parse(answer)).toMatchObject({ stream: streamName(own.state.roomId) });
    }
  });
});

test("a guessed inbox cannot be subscribed to, and the reply reaches its owner only", async () => {
  using mallory = await rawPeer(server.ready.nats, people.mallory);
  const inbox = inboxOf("guessed");
  const guesses = [inbox, inboxOf("*"), inboxOf(">"), inbox.replace(".a.", ".r."), inbox.replace(".a.", ".*.")];
  for (const [i, guess] of guesses.entries()) {
    expect(await mallory.exchange(`SUB ${guess} ${i + 1}\r\n`)).toContain("Permissions Violation for Subscription");
  }
  const ana = await dial(server, people.ana, { inboxPrefix: `_INBOX.${people.ana.endpoint}.a` });
  const ack = (await ana.request(shared.state.subject, "secret")).json<{ stream: string }>();
  expect(ack.stream).toBe(streamName(shared.state.roomId));
  const direct = await ana.request(shared.state.subject, "again", { noMux: true, reply: inbox, timeout: 5_000 });
  expect(direct.subject).toBe(inbox);
  await ana.close();
  expect(await mallory.exchange()).toBe("PONG\r\n");
});
