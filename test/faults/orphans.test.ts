/**
 * Streams without a row, rows without a stream, interrupted deletions: the sweep repairs them.
 * Source: docs/protocol/history.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Nats } from "../../src/contracts/nats.ts";
import type { Log } from "../../src/contracts/plugin.ts";
import { changeStay, leaving } from "../../src/contracts/stay-rules.ts";
import { RoomStore } from "../../src/contracts/store.ts";
import { RoomStreams } from "../../src/contracts/streams.ts";
import { type ApiReply, JetStream } from "../../src/nats/jetstream.ts";
import { streamErrors } from "../../src/plugins/room-streams/errors.ts";
import { sweep } from "../../src/plugins/room-streams/sweep.ts";
import { until } from "../support/executable.ts";
import { bootInProcess, type InProcess } from "../support/in-process.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { call, createRoom, dial, freshSubject, history, newRoom, type OwnRoom, policy } from "../support/peer.ts";

const minuteMs = 60_000;
let running: InProcess;
let people: Cast<"ana">;
let store: RoomStore;
let streams: RoomStreams;
let js: JetStream;

function must<T>(service: T | undefined): T {
  if (service === undefined) throw new Error("the bus lacks a service");
  return service;
}

beforeAll(async () => {
  running = await bootInProcess();
  people = await castOf(running.server, "ana");
  store = must(running.bus.service(RoomStore));
  streams = must(running.bus.service(RoomStreams));
  js = new JetStream(await must(running.bus.service(Nats)).connection("BUS"), streamErrors);
});
afterAll(() => running[Symbol.asyncDispose]());

const purged: string[] = [];
/** Returns the store, and records which rooms are purged. */
const watched = (): RoomStore => ({
  ...store,
  purgeRoom(roomId) {
    purged.push(roomId);
    return store.purgeRoom(roomId);
  },
});

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };
const sweepAt = (now: number, signal = new AbortController().signal) =>
  sweep({ js, rooms: watched(), streams, log: silent, now: () => now, signal });

const names = async (): Promise<string[]> =>
  (await js.call<ApiReply & { streams: string[] | null }>("STREAM.NAMES")).streams?.sort() ?? [];
const nameOf = (room: OwnRoom) => `UNIBUS_${room.state.roomId}`;
const hasStream = async (room: OwnRoom) => (await names()).includes(nameOf(room));

test("a stream without a row is deleted once it is a minute old; that of a room stays with its frames", async () => {
  const kept = await createRoom(running.server, people.ana, policy("persist"));
  const nats = await dial(running.server, people.ana);
  await nats.request(kept.state.subject, "kept");
  await nats.close();
  const orphan = newRoom(people.ana, freshSubject(), policy("persist"));
  await streams.ensure(orphan.state);

  await sweepAt(Date.now());
  expect(await hasStream(orphan)).toBe(true);
  // The sweep's clock is behind nats-server's: no stream looks old.
  await sweepAt(Date.now() - 10 * minuteMs);
  expect(await hasStream(orphan)).toBe(true);
  await sweepAt(Date.now() + 2 * minuteMs);
  expect(await hasStream(orphan)).toBe(false);
  expect(await hasStream(kept)).toBe(true);
  expect(await history(running.server, people.ana, kept)).toEqual([Buffer.from("kept")]);
});

test("a stream that does not belong to a room is left alone, however old", async () => {
  for (const name of ["OTHER", "UNIBUS_not-a-room", "UNIBUS_"]) {
    await js.call(`STREAM.CREATE.${name}`, { name, subjects: [`other.${name}`], storage: "file" });
  }
  const before = await names();
  await sweepAt(Date.now() + 60 * minuteMs);
  expect(await names()).toEqual(before);
  expect(before).toEqual(expect.arrayContaining(["OTHER", "UNIBUS_", "UNIBUS_not-a-room"]));
});

test("a row without a stream gets one, except for a room without persistence", async () => {
  const lost = await createRoom(running.server, people.ana, policy("persist"));
  const quiet = await createRoom(running.server, people.ana, policy());
  await js.call(`STREAM.DELETE.${nameOf(lost)}`);
  expect(await hasStream(lost)).toBe(false);
  await sweepAt(Date.now());
  expect([await hasStream(lost), await hasStream(quiet)]).toEqual([true, false]);
  const nats = await dial(running.server, people.ana);
  const ack = (await nats.request(lost.state.subject, "captured")).json<{ stream: string }>();
  await nats.close();
  expect(ack.stream).toBe(nameOf(lost));
});

test("an interrupted deletion is completed, and its subject is free", async () => {
  const room = await createRoom(running.server, people.ana, policy("encrypt", "persist"));
  expect(await store.markDeleted(room.state.roomId, Date.now())).toBe(true);
  expect(await store.findRoomId(room.state.subject)).toBe(room.state.roomId);
  await sweepAt(Date.now());
  expect(await hasStream(room)).toBe(false);
  expect(await store.findRoomId(room.state.subject)).toBeNull();
  expect(await store.listStays(room.state.roomId)).toEqual([]);
  const next = await createRoom(running.server, people.ana, policy("persist"), room.state.subject);
  expect(await history(running.server, people.ana, next)).toEqual([]);
  // In the next sweep the tombstone costs no write and does not affect the room that now has its subject.
  expect(purged).toEqual([room.state.roomId]);
  await sweepAt(Date.now() + 2 * minuteMs);
  expect(await hasStream(next)).toBe(true);
  expect(purged).toEqual([room.state.roomId]);
  const reply = await call(running.server.ready.http, people.ana, "GET", `/rooms/${room.state.roomId}`);
  expect(reply.status).toBe(410);
});

test("a sweep removes the consumers of departed members, and the first one creates missing consumers of devices", async () => {
  const room = await createRoom(running.server, people.ana, policy("persist"));
  const { roomId } = room.state;
  const consumers = async (): Promise<string[]> =>
    (await js.call<ApiReply & { consumers: string[] | null }>(`CONSUMER.NAMES.${nameOf(room)}`)).consumers ?? [];
  expect((await call(running.server.ready.http, people.ana, "PUT", `/rooms/${roomId}/durable`)).status).toBe(200);
  const [name = ""] = await consumers();
  await js.call(`CONSUMER.DELETE.${nameOf(room)}.${name}`);
  const signal = new AbortController().signal;
  await sweep({ js, rooms: store, streams, log: silent, now: Date.now, signal }, true);
  await until("the consumer exists again", async () => (await consumers()).includes(name));
  // As when a command on the host revokes a user: no server then settles the room.
  await changeStay(store, { roomId, endpoint: people.ana.endpoint }, leaving(1));
  await sweepAt(Date.now());
  await until("the consumer is deleted", async () => (await consumers()).length === 0);
});

test("an aborted sweep removes nothing more", async () => {
  const orphan = newRoom(people.ana, freshSubject(), policy("persist"));
  await streams.ensure(orphan.state);
  await sweepAt(Date.now() + 2 * minuteMs, AbortSignal.abort());
  expect(await hasStream(orphan)).toBe(true);
  await sweepAt(Date.now() + 2 * minuteMs);
  expect(await hasStream(orphan)).toBe(false);
});

test("more streams than one page of JetStream's list are all found", async () => {
  const many = Array.from({ length: 300 }, () => newRoom(people.ana, freshSubject(), policy("persist")));
  await Promise.all(many.map(({ state }) => streams.ensure(state)));
  const kept = await createRoom(running.server, people.ana, policy("persist"));
  await sweepAt(Date.now() + 2 * minuteMs);
  const left = new Set(await names());
  expect(many.filter((room) => left.has(nameOf(room)))).toEqual([]);
  expect(left.has(nameOf(kept))).toBe(true);
}, 20_000);
