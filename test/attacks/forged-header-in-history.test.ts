/**
 * Header blocks that a member chooses so that reading the history stops, ends early or returns wrong frames. A history
 * must return every stored frame byte for byte, whatever its headers are; headers that make JetStream act must remove
 * nothing. Source: docs/protocol/history.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import type { NatsConnection } from "nats";
import { Server } from "../support/executable.ts";
import { type Cast, castOf, inside, streamState } from "../support/inside.ts";
import { addMembers, call, createRoom, dial, history, type OwnRoom, policy } from "../support/peer.ts";
import { hpub, pub, type RawNats, rawPeer } from "../support/raw-nats.ts";

let server: Server;
let people: Cast<"ana" | "mallory">;
let bus: NatsConnection;
let mallory: RawNats;

beforeAll(async () => {
  server = await Server.start();
  people = await castOf(server, "ana", "mallory");
  bus = await inside(server);
});
afterAll(async () => {
  mallory[Symbol.dispose]();
  await bus.close();
  await server[Symbol.asyncDispose]();
});

/** Creates a room of both users and a connection on which Mallory may publish to it. */
async function sharedRoom(): Promise<OwnRoom> {
  const room = await addMembers(server, await createRoom(server, people.ana, policy("persist")), people.mallory);
  mallory?.[Symbol.dispose]();
  mallory = await rawPeer(server.ready.nats, people.mallory);
  return room;
}

const block = (...lines: string[]) => `NATS/1.0\r\n${lines.map((line) => `${line}\r\n`).join("")}\r\n`;

/** Header blocks that JetStream stores: the history must return the frame. */
const taken: Readonly<Record<string, string>> = {
  "a sequence": block("Nats-Sequence: 1"),
  "a sequence that is not a number": block("Nats-Sequence: x", "Nats-Sequence: -1"),
  "another stream": block("Nats-Stream: UNIBUS_OTHER", "Nats-Subject: room.other", "Nats-Time-Stamp: never"),
  "the end of a batch": block("Nats-Num-Pending: 0", "Nats-Last-Sequence: 1", "Nats-UpTo-Sequence: 1"),
  "headers in lowercase": block("nats-sequence: 1", "nats-stream: x", "NATS-SEQUENCE: 1"),
  "a duplicate header": block("A: 1", "A: 2", "Nats-Sequence: 7", "Nats-Sequence: 8"),
  "a marker": block("Nats-Marker-Reason: Purge", "KV-Operation: PURGE", "Nats-Applied-Limit: 1"),
  "status 204": "NATS/1.0 204 EOB\r\n\r\n",
  "status 404": "NATS/1.0 404 Message Not Found\r\n\r\n",
  "status 408": "NATS/1.0 408 Bad Request\r\n\r\n",
  "status 503": "NATS/1.0 503\r\n\r\n",
  "status 100": "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Sequence: 99\r\n\r\n",
  "status 204 with a last sequence": "NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\nNats-Last-Sequence: 1\r\n\r\n",
  "no header at all": "NATS/1.0\r\n\r\n",
  "a line without a colon": block("no colon here"),
  "a name with spaces": block("a b c: d", " : ", ":", ": x"),
  "a name that is not text": block("\u0000\u0001\u00ff: \u0000", "\u00e9: 1"),
  "a value that looks like a header line": block("A: b\rNats-Stream: c", "B: d\nNats-Sequence: 3"),
  "other line endings": "NATS/1.0\nA: b\n\n",
  "a block without its last line ending": "NATS/1.0\r\nA: bc",
  "a block that ends in the name of a header": "NATS/1.0\r\nNats-Stream",
  "a block that ends within a status": "NATS/1.0 204 EO",
  "a block of three bytes": "abc",
  "a block that is not a header": "HTTP/1.1 200 OK\r\nA: b\r\n\r\n",
  "a block of zeros": "\u0000".repeat(64),
  "a huge header": block(`A: ${"x".repeat(60_000)}`),
  "a thousand headers": block(...Array.from({ length: 1_000 }, (_, i) => `A-${i}: Nats-Sequence: ${i}`)),
};

/** Header blocks that ask JetStream to do something: it may store or refuse the frame. */
const asked: Readonly<Record<string, string>> = {
  "a rollup of everything": block("Nats-Rollup: all"),
  "a rollup of the subject": block("Nats-Rollup: sub"),
  "a time to live": block("Nats-TTL: 1s"),
  "a time to live of zero": block("Nats-TTL: 0"),
  "an expected stream": block("Nats-Expected-Stream: UNIBUS_OTHER"),
  "an expected sequence": block("Nats-Expected-Last-Sequence: 0"),
  "a counter": block("Nats-Incr: +1"),
  "a schedule": block("Nats-Schedule: @at 2999-01-01T00:00:00Z", "Nats-Schedule-Target: room.other"),
  "a batch": block("Nats-Batch-Id: x", "Nats-Batch-Sequence: 1", "Nats-Batch-Commit: 1"),
  "an API level": block("Nats-Required-Api-Level: 999"),
};

/** Blocks shorter than a header: nats-server counts these bytes as part of the frame. */
const tooShort: Readonly<Record<string, string>> = { "one line ending": "\r\n", "two bytes": "xx", "one byte": "x" };

describe("a frame of a member with", () => {
  for (const [what, headers] of Object.entries(taken)) {
    test(`${what} neither stops nor shortens a history, and is returned byte for byte`, async () => {
      const room = await sharedRoom();
      const { subject } = room.state;
      const forged = randomBytes(200);
      const said = await mallory.exchange(pub(subject, "first"), hpub(subject, headers, forged), pub(subject, "last"));
      expect(said).toBe("PONG\r\n");
      await lastIsIn(room);
      expect(await history(server, people.ana, room)).toEqual([
        Buffer.from("first"),
        forged,
        Buffer.from("last"),
        Buffer.from("mark"),
      ]);
      expect(await history(server, people.ana, room, "?limit=1&before=3")).toEqual([forged]);
      expect(await history(server, people.ana, room, "?limit=2&before=3")).toEqual([Buffer.from("first"), forged]);
    });
  }

  for (const [what, headers] of Object.entries(tooShort)) {
    test(`a block of ${what} stops no history`, async () => {
      const room = await sharedRoom();
      await mallory.exchange(hpub(room.state.subject, headers, "forged"), pub(room.state.subject, "last"));
      await lastIsIn(room);
      const texts = (await history(server, people.ana, room)).map((frame) => frame.toString("latin1"));
      expect(texts).toEqual([`${headers}forged`, "last", "mark"]);
    });
  }

  for (const [what, headers] of Object.entries(asked)) {
    test(`${what} removes nothing and stops no history`, async () => {
      const room = await sharedRoom();
      const { subject } = room.state;
      await mallory.exchange(pub(subject, "first"), hpub(subject, headers, "forged"), pub(subject, "last"));
      await lastIsIn(room);
      const texts = (await history(server, people.ana, room)).map((frame) => frame.toString());
      expect(texts.filter((text) => text !== "forged")).toEqual(["first", "last", "mark"]);
      expect(texts).toHaveLength((await streamState(bus, room))?.messages ?? -1);
    });
  }
});

/**
 * Publishes a frame of the room's owner and waits until it is stored. Everything published earlier is then stored, too.
 */
async function lastIsIn(room: OwnRoom): Promise<void> {
  const ana = await dial(server, people.ana);
  await ana.request(room.state.subject, "mark", { timeout: 5_000 });
  await ana.close();
}

test("random header bytes stop no history", async () => {
  const room = await sharedRoom();
  const { subject } = room.state;
  const sent: Buffer[] = [];
  const pieces = ["NATS/1.0", "\r\n", "\r", "\n", " 204 EOB", "Nats-Stream", ": ", "Nats-Sequence: 9", "\u0000", "x"];
  for (let i = 0; i < 300; i++) {
    const chosen = [...randomBytes(3 + (i % 12))].map((byte) => pieces[byte % pieces.length] ?? "");
    const payload = randomBytes(i % 40);
    mallory.write(hpub(subject, i % 3 === 0 ? randomBytes(3 + (i % 50)) : chosen.join(""), payload));
    sent.push(payload);
  }
  await mallory.exchange();
  await lastIsIn(room);
  const read = await history(server, people.ana, room, "?limit=1000");
  // JetStream may refuse frames whose headers ask it to act, but no stored frame may be missing.
  expect(read).toHaveLength((await streamState(bus, room))?.messages ?? -1);
  expect(read.slice(0, -1)).toEqual(sent);
  expect(read.at(-1)).toEqual(Buffer.from("mark"));
  const page = await call(server.ready.http, people.ana, "GET", `/rooms/${room.state.roomId}/history?limit=7`);
  expect(page.json).toMatchObject({ more: true, last_seq: 301, first_seq: 295 });
});
