/**
 * nats-server is killed, or hangs, during concurrent reads. Each read must return 503 or the complete list, never a
 * shorter one, within its bound; rooms are created completely or not at all; and everything recovers when nats-server
 * is back. Also deletes a stream behind the server's back. Source: docs/protocol/history.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { isAlive, Server, until } from "../support/executable.ts";
import { type Cast, castOf, inside, jetStream } from "../support/inside.ts";
import {
  call,
  createBody,
  createRoom,
  dial,
  freshSubject,
  history,
  newRoom,
  type OwnRoom,
  policy,
  type Reply,
} from "../support/peer.ts";

const readers = 6;
const count = 300;
/** The time limit of a complete read, plus the time to detect the failure. */
const answerMsMax = 7_000;

let server: Server;
let people: Cast<"ana">;
let room: OwnRoom;
let frames: string[];

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=1000000"] });
  people = await castOf(server, "ana");
  room = await createRoom(server, people.ana, policy("persist"));
  frames = Array.from({ length: count }, (_, i) => `frame ${i} ${"x".repeat(i)}`);
  const ana = await dial(server, people.ana);
  for (const frame of frames.slice(0, -1)) ana.publish(room.state.subject, frame);
  await ana.request(room.state.subject, frames.at(-1), { timeout: 10_000 });
  await ana.close();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const natsPid = () => server.natsPid;
const read = () => call(server.ready.http, people.ana, "GET", `/rooms/${room.state.roomId}/history?limit=1000`);
const textsOf = (reply: Reply) =>
  (reply.json.messages as string[]).map((text) => Buffer.from(text, "base64").toString());
const isReady = async () => (await fetch(`${server.ready.http}/readyz`)).status === 200;

/** Expects the complete list or a refusal. */
function expectWholeOrRefused(reply: Reply): void {
  if (reply.status === 200) expect(textsOf(reply)).toEqual(frames);
  else expect([reply.status, reply.json.code]).toEqual([503, "unavailable"]);
}

/** Reads in a loop from several readers until `enough` returns true. Returns how many replies had which status. */
async function readUntil(enough: () => boolean): Promise<Map<number, number>> {
  const statuses = new Map<number, number>();
  const reader = async (): Promise<void> => {
    while (!enough()) {
      const began = performance.now();
      const reply = await read();
      expect(performance.now() - began).toBeLessThan(answerMsMax);
      expectWholeOrRefused(reply);
      statuses.set(reply.status, (statuses.get(reply.status) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: readers }, reader));
  return statuses;
}

/** Creates a room during the fault. It must be created completely or not at all. Returns whether it was created. */
async function createNow(): Promise<boolean> {
  const made = newRoom(people.ana, freshSubject(), policy("persist"));
  const body = createBody(made);
  const target = `/rooms/${made.state.roomId}`;
  const reply = await call(server.ready.http, people.ana, "POST", "/rooms", body);
  expect([201, 503]).toContain(reply.status);
  const shown = await call(server.ready.http, people.ana, "GET", target);
  expect(shown.status).toBe(reply.status === 201 ? 200 : 404);
  if (reply.status === 201) return true;
  await until("the bus is whole again", isReady);
  expect((await call(server.ready.http, people.ana, "POST", "/rooms", body)).status).toBe(201);
  expect(await history(server, people.ana, made)).toEqual([]);
  return false;
}

describe("nats-server killed under concurrent reads", () => {
  test("no read is ever short, and the server recovers", async () => {
    for (let round = 0; round < 3; round++) {
      const pid = natsPid();
      let isOver = false;
      const reading = readUntil(() => isOver);
      process.kill(pid, "SIGKILL");
      const created = Array.from({ length: 3 }, createNow);
      await until("nats-server is dead", () => !isAlive(pid));
      await until("a new nats-server runs", () => natsPid() !== pid && isAlive(natsPid()));
      await until("the bus is whole again", isReady);
      await Promise.all(created);
      isOver = true;
      const statuses = await reading;
      expect([...statuses.keys()].filter((status) => ![200, 503].includes(status))).toEqual([]);
      expect(textsOf(await read())).toEqual(frames);
    }
  }, 60_000);

  test("the new one has the same addresses and all streams", async () => {
    const info = (await (await fetch(`${server.ready.http}/info`)).json()) as { nats: string[]; ws: string[] };
    expect(info).toMatchObject({ nats: [server.ready.nats], ws: expect.arrayContaining([server.ready.ws]) });
    const ana = await dial(server, people.ana);
    expect((await ana.request(room.state.subject, "one more")).json<{ seq: number }>().seq).toBe(count + 1);
    frames.push("one more");
    await ana.close();
  });
});

describe("nats-server hangs under concurrent reads", () => {
  test("every read and every creation is refused within its time limit, and the server recovers", async () => {
    const pid = natsPid();
    const made = newRoom(people.ana, freshSubject(), policy("persist"));
    const body = createBody(made);
    process.kill(pid, "SIGSTOP");
    try {
      const began = performance.now();
      const [created, ...reads] = await Promise.all([
        call(server.ready.http, people.ana, "POST", "/rooms", body),
        ...Array.from({ length: readers }, read),
      ]);
      expect(performance.now() - began).toBeLessThan(answerMsMax);
      expect([created.status, created.json.code]).toEqual([503, "unavailable"]);
      for (const reply of reads) expect([reply.status, reply.json.code]).toEqual([503, "unavailable"]);
      // Requests that do not need NATS still work.
      expect((await call(server.ready.http, people.ana, "GET", `/rooms/${made.state.roomId}`)).status).toBe(404);
      expect((await call(server.ready.http, people.ana, "GET", `/rooms/${room.state.roomId}`)).status).toBe(200);
      expect((await fetch(`${server.ready.http}/readyz`)).status).toBe(503);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await until("the bus is whole again", isReady);
    expect(textsOf(await read())).toEqual(frames);
    expect((await call(server.ready.http, people.ana, "POST", "/rooms", body)).status).toBe(201);
    expect(await history(server, people.ana, made)).toEqual([]);
  }, 30_000);
});

describe("a stream that was deleted outside unibus", () => {
  test("is created again by a read of the history, and stores the next frame", async () => {
    const lost = await createRoom(server, people.ana, policy("persist"));
    const ana = await dial(server, people.ana);
    await ana.request(lost.state.subject, "lost with its stream");
    expect(await history(server, people.ana, lost)).toHaveLength(1);
    const bus = await inside(server);
    await jetStream(bus, `STREAM.DELETE.UNIBUS_${lost.state.roomId}`);
    await bus.close();

    expect(await history(server, people.ana, lost)).toEqual([]);
    const next = Buffer.from("captured");
    const ack = (await ana.request(lost.state.subject, next)).json<{ stream: string; seq: number }>();
    expect(ack).toMatchObject({ stream: `UNIBUS_${lost.state.roomId}`, seq: 1 });
    expect(await history(server, people.ana, lost)).toEqual([next]);
    await ana.close();
  });

  test("is not created again for a room without persistence", async () => {
    const quiet = await createRoom(server, people.ana, policy());
    expect(await history(server, people.ana, quiet)).toEqual([]);
    const bus = await inside(server);
    const info = await jetStream<{ error?: { err_code: number } }>(bus, `STREAM.INFO.UNIBUS_${quiet.state.roomId}`);
    await bus.close();
    expect(info.error?.err_code).toBe(10059);
  });
});
