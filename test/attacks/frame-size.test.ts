/** Frames of exactly the maximum size pass; larger ones close the connection. Source: docs/protocol/logins.md. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { natsPayloadBytesMax } from "../../src/wire/room-stream.ts";
import { Server } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { createRoom, dial, history, type OwnRoom, policy } from "../support/peer.ts";
import { hpub, pub, RawNats, rawPeer } from "../support/raw-nats.ts";

let server: Server;
let people: Cast<"ana">;
let room: OwnRoom;

beforeAll(async () => {
  server = await Server.start();
  people = await castOf(server, "ana");
  room = await createRoom(server, people.ana, policy("persist"));
});
afterAll(() => server[Symbol.asyncDispose]());

test("the server announces its maximum: 1 MiB and 64 KiB", async () => {
  using raw = await RawNats.open(server.ready.nats);
  expect(raw.info.max_payload).toBe(natsPayloadBytesMax);
  expect(natsPayloadBytesMax).toBe(1_114_112);
});

test("a frame larger by one byte is refused, and its sender is disconnected", async () => {
  const over = new Uint8Array(natsPayloadBytesMax + 1);
  const headers = "NATS/1.0\r\nA: b\r\n\r\n";
  for (const message of [
    pub(room.state.subject, over),
    hpub(room.state.subject, headers, new Uint8Array(natsPayloadBytesMax + 1 - headers.length)),
    Buffer.from(`PUB ${room.state.subject} 4294967296\r\n`),
    Buffer.from(`PUB ${room.state.subject} -1\r\n`),
    Buffer.from(`PUB ${room.state.subject} 99999999999999999999\r\n`),
    Buffer.from(`HPUB ${room.state.subject} 20 10\r\n`),
  ]) {
    using raw = await rawPeer(server.ready.nats, people.ana);
    const said = await raw.exchange(message);
    expect(said).not.toContain("PONG");
    expect(raw.isClosed).toBe(true);
  }
  expect(await history(server, people.ana, room)).toEqual([]);
});

test("a protocol line that never ends closes the connection", async () => {
  using raw = await rawPeer(server.ready.nats, people.ana);
  const said = await raw.exchange(`PUB ${"x".repeat(100_000)}`);
  expect(said).toContain("-ERR 'maximum control line exceeded'");
});

test("the largest frame is stored and returned whole", async () => {
  const ana = await dial(server, people.ana);
  const frame = randomBytes(natsPayloadBytesMax);
  await ana.request(room.state.subject, frame, { timeout: 10_000 });
  await ana.close();
  const read = await history(server, people.ana, room);
  expect(read).toHaveLength(1);
  expect(read[0]?.equals(frame)).toBe(true);
});
