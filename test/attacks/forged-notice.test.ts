/** A notice that unibus did not send: a trick that makes one causes a bounded re-read. Source: spec 9, 13. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Live } from "../../src/client/live.ts";
import { Server } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { addMembers, createRoom, policy } from "../support/peer.ts";
import { pub, rawPeer } from "../support/raw-nats.ts";

/** Reads that notices may cause at once, and each second after. Source: spec 9. */
const burst = 20;

let server: Server;
let people: Cast<"ana" | "eve">;

beforeAll(async () => {
  server = await Server.start();
  people = await castOf(server, "ana", "eve");
});
afterAll(() => server[Symbol.asyncDispose]());

test("peers publish no notices, neither their own nor another's", async () => {
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

test("an answer that a member has sent onto a notice subject causes re-reads at a bounded rate", async () => {
  const room = await addMembers(server, await createRoom(server, people.ana, policy("persist")), people.eve);
  let reads = 0;
  const live = await Live.connect({
    identity: people.ana,
    servers: [server.ready.nats],
    readGrant: async () => {
      reads += 1;
      return String(reads);
    },
    subjects: () => [room.state.subject],
    onMessage: () => undefined,
    keyOf: () => null,
  });
  const began = performance.now();
  expect(reads).toBe(1);
  using eve = await rawPeer(server.ready.nats, people.eve);
  const forged = `unibus.user.${people.ana.endpoint}.removed`;
  for (let round = 0; round < 20; round++) {
    await eve.exchange(
      ...Array.from({ length: 100 }, (_, index) => pub(room.state.subject, `${round} ${index}`, forged)),
    );
  }
  // 2,000 PubAcks were sent there. Whatever of them arrives, the truth is read so often at most.
  await live.refresh();
  const seconds = (performance.now() - began) / 1000;
  expect(reads).toBeLessThanOrEqual(1 + burst + Math.ceil(seconds) + 1);
  expect(live.followed).toEqual([room.state.subject]);
  await live.close();
}, 30_000);
