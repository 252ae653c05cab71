/** Benchmark: GET history over signed HTTP, compared with the same read directly from NATS. */
import { randomBytes } from "node:crypto";
import { createInbox, type NatsConnection } from "nats";
import type { Identity } from "../src/client/crypto/identity.ts";
import { streamName } from "../src/wire/names.ts";
import type { Server } from "../test/support/executable.ts";
import { createRoom, dial, freshSubject, policy, signedHeaders } from "../test/support/peer.ts";
import { BareNats, bareStream, createStream } from "./support/bare-nats.ts";
import { makeUsers, startBus } from "./support/bus.ts";
import { quantile, timed } from "./support/measure.ts";
import { workload } from "./workload.ts";

const frames = { count: 2_000, bytes: 512 } as const;
const rounds = { warmUp: 40, measured: 200 } as const;
const readTimeoutMs = 5_000;

/** Reads the last messages in one batch, as a program would without HTTP and signatures. */
function readBatch(connection: NatsConnection, stream: string, limit: number): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const timer = setTimeout(reject, readTimeoutMs, new Error("the batch did not end"));
  const inbox = createInbox();
  let bytes = 0;
  const subscription = connection.subscribe(inbox, {
    callback: (error, { data, headers }) => {
      if (error !== null) return reject(error);
      if (headers?.code === 204) return resolve(bytes);
      bytes += data.byteLength;
      return undefined;
    },
  });
  const request = { seq: frames.count - limit + 1, batch: limit };
  connection.publish(`$JS.API.DIRECT.GET.${stream}`, JSON.stringify(request), { reply: inbox });
  return promise.finally(() => {
    clearTimeout(timer);
    subscription.unsubscribe();
  });
}

/** Reads the last messages one by one. */
async function readSerially(connection: NatsConnection, stream: string, limit: number): Promise<number> {
  let bytes = 0;
  for (let seq = frames.count - limit + 1; seq <= frames.count; seq++) {
    bytes += (await connection.request(`$JS.API.DIRECT.GET.${stream}`, JSON.stringify({ seq }))).data.byteLength;
  }
  return bytes;
}

/** Publishes the frames. The last publish is acknowledged, which implies that all of them are stored. */
async function fill(connection: NatsConnection, subject: string): Promise<void> {
  for (let index = 1; index < frames.count; index++) connection.publish(subject, randomBytes(frames.bytes));
  await connection.request(subject, randomBytes(frames.bytes), { timeout: readTimeoutMs });
}

/** Creates a room, fills it with frames, and returns the URL of its last frames. */
async function filledRoom(server: Server, owner: Identity, limit: number): Promise<string> {
  const room = await createRoom(server, owner, policy("encrypt", "persist"), freshSubject());
  const peer = await dial(server, owner);
  await fill(peer, room.state.subject);
  await peer.close();
  return `/rooms/${room.state.roomId}/history?limit=${limit}`;
}

async function measure(limit: number) {
  await using server = await startBus();
  await using bare = await BareNats.start();
  const [owner] = await makeUsers(server, 1);
  if (owner === undefined) throw new Error("no user");
  const target = await filledRoom(server, owner, limit);
  const connection = await bare.connect();
  const config = bareStream(0);
  await createStream(connection, config);
  await fill(connection, config.subjects[0]);
  const stream = streamName("BARE0");

  const taken = { http: [] as number[], batch: [] as number[], serial: [] as number[] };
  for (let round = 0; round < rounds.warmUp + rounds.measured; round++) {
    const headers = signedHeaders(owner, { url: server.ready.http, method: "GET", target });
    const http = await timed(async () => {
      const reply = await fetch(`${server.ready.http}${target}`, { headers });
      if (reply.status !== 200) throw new Error(`GET ${target}: ${reply.status}`);
      if ((await reply.arrayBuffer()).byteLength < limit * frames.bytes) throw new Error("a short history");
    });
    const batch = await timed(async () => {
      if ((await readBatch(connection, stream, limit)) !== limit * frames.bytes) throw new Error("a short batch");
    });
    if (round < rounds.warmUp) continue;
    taken.http.push(http);
    taken.batch.push(batch);
    if (round % 10 === 0) taken.serial.push(await timed(() => readSerially(connection, stream, limit)));
  }
  await connection.close();
  const beside = (share: number) => ({ value: quantile(taken.http, share), limit: quantile(taken.batch, share) });
  return { p50: beside(0.5), p99: beside(0.99), serial: { value: quantile(taken.serial, 0.5) } };
}

const recipe = (limit: number) =>
  `signed GET /rooms/{id}/history?limit=${limit}, one at a time, of ${frames.count} frames of ${frames.bytes} B; ` +
  "limit: the same frames by one batched direct get from a bare nats-server; serial: one by one";

/** Measures a page of the usual size. */
export const history200 = workload({
  name: "history-200",
  goal: { p50: { unit: "ms", atMost: 4 }, p99: { unit: "ms" }, serial: { unit: "ms" } },
  recipe: recipe(200),
  run: () => measure(200),
});

/** Measures a page of the maximum size. */
export const history1000 = workload({
  name: "history-1000",
  goal: { p50: { unit: "ms", atMost: 12 }, p99: { unit: "ms" }, serial: { unit: "ms" } },
  recipe: recipe(1000),
  run: () => measure(1000),
});
