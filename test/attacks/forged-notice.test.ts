/**
 * Forged notices: a forged notice that reaches a client must cause only a bounded number of reads.
 * Source: docs/protocol/notices.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { ConnectionManager } from "../../src/client/transport/connection-manager.ts";
import { noticeSubject } from "../../src/wire/names.ts";
import { Server, until } from "../support/executable.ts";
import { type Cast, castOf, inside } from "../support/inside.ts";
import { addMembers, createRoom, policy } from "../support/peer.ts";
import { pub, rawPeer } from "../support/raw-nats.ts";

let server: Server;
let people: Cast<"ana" | "eve">;

beforeAll(async () => {
  server = await Server.start();
  people = await castOf(server, "ana", "eve");
});
afterAll(() => server[Symbol.asyncDispose]());

test("users can publish no notices, neither their own nor another's", async () => {
  using eve = await rawPeer(server.ready.nats, people.eve);
  for (const endpoint of [people.ana.endpoint, people.eve.endpoint]) {
    for (const kind of ["joined", "revoked", "x.y"]) {
      const answer = await eve.exchange(pub(`unibus.user.${endpoint}.${kind}`, "{}"));
      expect(answer).toContain("-ERR 'Permissions Violation for Publish");
    }
  }
  const other = `SUB unibus.user.${people.ana.endpoint}.> 1\r\n`;
  expect(await eve.exchange(other)).toContain("-ERR 'Permissions Violation for Subscription");
});

test("replies that a member redirects to notice subjects cause no read and no login", async () => {
  const room = await addMembers(server, await createRoom(server, people.ana, policy("persist")), people.eve);
  let reads = 0;
  const notices: string[] = [];
  const live = await ConnectionManager.connect({
    identity: people.ana,
    servers: [server.ready.nats],
    readGrant: async () => String(++reads),
    subjects: () => [room.state.subject],
    onMessage: () => undefined,
    onNotice: ({ kind }) => notices.push(kind),
    keyOf: () => null,
  });
  expect(reads).toBe(1);
  const { line } = live;
  using eve = await rawPeer(server.ready.nats, people.eve);
  for (const kind of ["joined", "removed", "accepted", "deleted", "durable", "revoked"]) {
    const forged = `unibus.user.${people.ana.endpoint}.${kind}`;
    await eve.exchange(...Array.from({ length: 300 }, (_, index) => pub(room.state.subject, `${index}`, forged)));
  }
  // The server's own notices still arrive after all the forged ones.
  const bus = await inside(server);
  bus.publish(noticeSubject(people.ana.endpoint, "role"), JSON.stringify({ room_id: room.state.roomId }));
  await until("the real notice arrived", () => notices.length > 0);
  await bus.close();
  expect([reads, notices, live.line === line]).toEqual([1, ["role"], true]);
  await live.close();
}, 60_000);
