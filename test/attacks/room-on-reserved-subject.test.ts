/**
 * Rooms on taken, wildcard, `$` or `_INBOX` subjects, or with an invalid id, are refused.
 * Source: docs/protocol/rooms.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { ulid } from "ulid";
import { Server } from "../support/executable.ts";
import { type Cast, castOf, inside, jetStream } from "../support/inside.ts";
import { call, createBody, freshSubject, newRoom, policy } from "../support/peer.ts";

let server: Server;
let people: Cast<"ana" | "eve">;
let bus: NatsConnection;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", 'nats-embedded.namespaces=["acme"]'] });
  people = await castOf(server, "ana", "eve");
  bus = await inside(server);
});
afterAll(async () => {
  await bus.close();
  await server[Symbol.asyncDispose]();
});

const post = (name: "ana" | "eve", subject: string, roomId?: string) => {
  const room = newRoom(people[name], subject, policy("persist"), roomId);
  return call(server.ready.http, people[name], "POST", "/rooms", createBody(room));
};
const streams = async () => (await jetStream<{ streams: string[] | null }>(bus, "STREAM.NAMES")).streams ?? [];
const longest = `room.${"x".repeat(195)}`;

const subjects: Readonly<Record<string, readonly string[]>> = {
  "a wildcard": [">", "*", "room.*", "room.>", "room.a.>", "*.a", "room.*.b", "r*om.a", "room.a*", "room.a>"],
  "a subject reserved by NATS": [
    "$SYS.REQ.x",
    "$JS.API.INFO",
    "$JS.ACK.a",
    "$KV.UNIBUS_users.x",
    "$O.a.b",
    "$SRV.PING",
  ],
  "an inbox": ["_INBOX.a.b", "_INBOX.a.r.x", "_R_.a.b"],
  "a subject reserved by unibus": ["_DELIVER.a.b.main", "unibus.user.a.joined", "UNIBUS.user.a", "_DELIVER.a"],
  "no namespace of the server": ["rooms.a", "Room.a", "ROOM.a", "other.a", "acm.e", "room-a.b", "acme2.a"],
  "one token": ["room", "acme", "room.", ".room"],
  "an empty token": ["room..a", "room.a.", ".room.a", "room.a..b", "."],
  "an invalid character": ["room.a b", "room.\u00e9", "room.a\tb", "room.a\u0000", "room.a/b", "room.a:b", "room.🚌"],
  "too many characters": [`${longest}x`, `room.${"a.".repeat(2_000)}b`],
};

for (const [what, list] of Object.entries(subjects)) {
  describe(`a room on ${what}`, () => {
    for (const subject of list) {
      test(`${JSON.stringify(subject).slice(0, 40)} is refused and leaves nothing`, async () => {
        const before = await streams();
        const reply = await post("eve", subject);
        expect([reply.status, reply.json.code]).toEqual([400, "invalid"]);
        expect(reply.json.error).toContain("line 5 (subject)");
        expect(await streams()).toEqual(before);
      });
    }
  });
}

test("a subject with a line break changes the statement's lines, which is refused", async () => {
  for (const subject of ["room.a\n", "room.a\n111", "\nroom.a", "room.a\r\nb"]) {
    const reply = await post("eve", subject);
    expect([reply.status, reply.json.code]).toEqual([400, "invalid"]);
  }
});

describe("a room id", () => {
  const ids = [
    "01ARZ3NDEKTSV4RRFFQ69G5FA",
    "01ARZ3NDEKTSV4RRFFQ69G5FAVX",
    "81ARZ3NDEKTSV4RRFFQ69G5FAV",
    "01arz3ndektsv4rrffq69g5fav",
    "01ARZ3NDEKTSV4RRFFQ69G5FAI",
    "01ARZ3NDEKTSV4RRFFQ69G5FA.",
    "01ARZ3NDEKTSV4RRFFQ69G5F*>",
    "../../../etc/passwd",
    "KV_UNIBUS_users",
    " ",
  ];
  for (const id of ids) {
    test(`${JSON.stringify(id)} is refused`, async () => {
      const reply = await post("eve", freshSubject(), id);
      expect([reply.status, reply.json.code]).toEqual([400, "invalid"]);
      expect(reply.json.error).toContain("line 2 (room_id)");
    });
  }
});

describe("a taken subject or id", () => {
  test("stays with its room, and its stream keeps all frames", async () => {
    const subject = freshSubject();
    const id = ulid();
    expect((await post("ana", subject, id)).status).toBe(201);
    const before = await streams();
    const again = await post("eve", subject);
    expect([again.status, again.json.code]).toEqual([409, "conflict"]);
    const sameId = await post("eve", freshSubject(), id);
    expect([sameId.status, sameId.json.code]).toEqual([409, "conflict"]);
    const both = await post("eve", subject, id);
    expect([both.status, both.json.code]).toEqual([409, "conflict"]);
    expect(await streams()).toEqual(before);
    expect((await call(server.ready.http, people.eve, "GET", `/rooms/${id}`)).status).toBe(403);
    expect((await call(server.ready.http, people.ana, "GET", `/rooms/${id}`)).json.subject).toBe(subject);
  });
});

test("a valid subject is accepted: in every namespace, of any depth, of 200 characters", async () => {
  const fine = [
    "proc.a.b",
    "rpc.sum",
    "room.general",
    "agent.x.in",
    "acme.a",
    "room.A_b-c.0",
    longest,
    "room.a.b.c.d.e",
  ];
  for (const subject of fine) expect([subject, (await post("ana", subject)).status]).toEqual([subject, 201]);
});
