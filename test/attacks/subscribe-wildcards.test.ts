/**
 * Subscribing to other users' subjects, by wildcard and by name. Source: docs/protocol/logins.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { deliverSubject, noticeSubject, signalSubject } from "../../src/wire/names.ts";
import { Server } from "../support/executable.ts";
import { type Cast, castOf, inside } from "../support/inside.ts";
import { addMembers, createRoom, dial, type OwnRoom, policy } from "../support/peer.ts";
import { rawPeer } from "../support/raw-nats.ts";

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

/** Subjects to which a peer in `ours` and not in `theirs` must not subscribe. */
function forbidden(self: "bob" | "eve"): string[] {
  const { ana, admin } = people;
  const [room, other] = [ours.state, theirs.state];
  const strangers = self === "eve" ? [room.subject, `${room.subject.slice(0, -1)}*`] : [];
  return [
    ...[">", "*", "*.>", "*.*", "*.*.>", "*.*.*", "*.*.*.*", "room.>", "room.*", "proc.>", "rpc.*", "agent.>"],
    ...[other.subject, `${other.subject}.>`, `${other.subject}.*`, ...strangers],
    ...["_INBOX.>", "_INBOX.*", "_INBOX.*.>", "_INBOX.*.a.*", "_INBOX.*.r.>", "_R_.>", "_R_.*"],
    ...[`_INBOX.${ana.endpoint}.>`, `_INBOX.${ana.endpoint}.a.*`, `_INBOX.${ana.endpoint}.a.token`],
    ...["_DELIVER.>", "_DELIVER.*.>", `_DELIVER.${ana.endpoint}.>`, `_DELIVER.*.${room.roomId}.*`],
    deliverSubject(ana.endpoint, room.roomId, "main"),
    ...["unibus.>", "unibus.user.>", "unibus.*.*.*", noticeSubject(ana.endpoint, "joined")],
    ...[noticeSubject(admin.endpoint, ">"), noticeSubject("*", "revoked")],
    ...["_SIG.>", "_SIG.*.*", signalSubject(other.roomId, "*"), `_SIG.*.${ana.endpoint}`],
    // To a member it gives what signalSubject(room, "*") gives: no user may publish further down.
    ...(self === "eve"
      ? [`_SIG.${room.roomId}.>`, signalSubject(room.roomId, "*"), signalSubject(room.roomId, ana.endpoint)]
      : []),
    ...["$SYS.>", "$SYS.REQ.USER.AUTH", "$SYS.ACCOUNT.*.CONNECT", "$SYS.REQ.SERVER.>"],
    ...["$JS.>", "$JS.API.>", "$JS.ACK.>", `$JS.ACK.UNIBUS_${room.roomId}.>`, "$JS.EVENT.>", "$KV.>", "$O.>", "$SRV.>"],
  ];
}

describe.each(["bob", "eve"] as const)("%s, member and stranger,", (who) => {
  test("may subscribe to none of the subjects, alone or in a queue", async () => {
    using peer = await rawPeer(server.ready.nats, people[who]);
    for (const [i, subject] of forbidden(who).entries()) {
      for (const queue of ["", "workers "]) {
        const said = await peer.exchange(`SUB ${subject} ${queue}${2 * i + (queue === "" ? 1 : 2)}\r\n`);
        expect([subject, said]).toEqual([subject, expect.stringContaining("Permissions Violation for Subscription")]);
      }
    }
    const mark = peer.received.length;

    const ana = await dial(server, people.ana);
    const rooms = [ours.state.subject, theirs.state.subject];
    for (const subject of rooms) await ana.request(subject, "secret");
    for (const { state } of [ours, theirs]) ana.publish(signalSubject(state.roomId, people.ana.endpoint), "secret");
    await ana.flush();
    await ana.close();
    // What unibus itself publishes to other users.
    bus.publish(noticeSubject(people.ana.endpoint, "joined"), "{}");
    bus.publish(deliverSubject(people.ana.endpoint, ours.state.roomId, "main"), "secret");
    await bus.flush();

    expect(await peer.exchange()).toBe("PONG\r\n");
    expect(peer.received.slice(mark)).toBe("PONG\r\n");
  });
});

test("a member may subscribe to its own room, inbox, notices and deliveries", async () => {
  using bob = await rawPeer(server.ready.nats, people.bob);
  const own = [
    ours.state.subject,
    `_INBOX.${people.bob.endpoint}.>`,
    noticeSubject(people.bob.endpoint, ">"),
    `_DELIVER.${people.bob.endpoint}.${ours.state.roomId}.*`,
  ];
  const said = await bob.exchange(...own.map((subject, i) => `SUB ${subject} ${i + 1}\r\n`));
  expect(said).toBe("PONG\r\n");
  const ana = await dial(server, people.ana);
  ana.publish(ours.state.subject, "hello");
  ana.publish(`_INBOX.${people.bob.endpoint}.r.token`, "an answer");
  await ana.flush();
  await ana.close();
  bus.publish(noticeSubject(people.bob.endpoint, "joined"), "{}");
  bus.publish(deliverSubject(people.bob.endpoint, ours.state.roomId, "main"), "delivered");
  await bus.flush();
  await bob.exchange();
  for (const text of ["hello", "an answer", "{}", "delivered"]) expect(bob.received).toContain(`\r\n${text}\r\n`);
});
