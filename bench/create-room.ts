/** Benchmark: POST /rooms of a persisted room on a server with many rooms, compared with its two durable steps. */
import { Database } from "bun:sqlite";
import { Folder } from "../test/support/executable.ts";
import { createBody, freshSubject, newRoom, policy, signedHeaders } from "../test/support/peer.ts";
import { BareNats, bareStream, createStream } from "./support/bare-nats.ts";
import { makeRooms, startBus } from "./support/bus.ts";
import { each, quantile, timed } from "./support/measure.ts";
import { workload } from "./workload.ts";

const roomsThere = 1_000;
const rounds = { warmUp: 20, measured: 200 } as const;

/** Commits one row with synchronous FULL, on the disk that holds the temporary folders. */
function bareCommit(file: string): { commit: () => void } & Disposable {
  const database = new Database(file, { create: true });
  database.run("PRAGMA journal_mode = WAL");
  database.run("PRAGMA synchronous = FULL");
  database.run("CREATE TABLE rows (body TEXT)");
  const insert = database.prepare("INSERT INTO rows VALUES (?)");
  return { commit: () => insert.run("x".repeat(1_000)), [Symbol.dispose]: () => database.close(true) };
}

async function measure() {
  await using server = await startBus();
  await using bare = await BareNats.start();
  using folder = new Folder();
  using disk = bareCommit(folder.file("bare.db"));
  const connection = await bare.connect();
  const owner = (await makeRooms(server, roomsThere))[0]?.owner;
  if (owner === undefined) throw new Error("no room");
  await each(roomsThere, 8, (index) => createStream(connection, bareStream(index)));

  const taken = { http: [] as number[], parts: [] as number[] };
  for (let round = 0; round < rounds.warmUp + rounds.measured; round++) {
    const body = JSON.stringify(createBody(newRoom(owner, freshSubject(), policy("encrypt", "persist"))));
    const headers = signedHeaders(owner, { url: server.ready.http, method: "POST", target: "/rooms", body });
    const http = await timed(async () => {
      const reply = await fetch(`${server.ready.http}/rooms`, { method: "POST", headers, body });
      if (reply.status !== 201) throw new Error(`POST /rooms: ${reply.status} ${await reply.text()}`);
      await reply.text();
    });
    const parts = await timed(async () => {
      await createStream(connection, bareStream(roomsThere + round));
      disk.commit();
    });
    if (round < rounds.warmUp) continue;
    taken.http.push(http);
    taken.parts.push(parts);
  }
  await connection.close();
  const beside = (share: number) => ({ value: quantile(taken.http, share), limit: quantile(taken.parts, share) });
  return { p50: beside(0.5), p99: beside(0.99) };
}

/** Measures room creation, the most expensive request in normal use. */
export const createRooms = workload({
  name: "create-room",
  goal: { p50: { unit: "ms", atMost: 2 }, p99: { unit: "ms" } },
  recipe:
    `signed POST /rooms, persisted and encrypted, one at a time with ${roomsThere} there; ` +
    "limit: STREAM.CREATE on a bare nats-server with as many streams, then one bare SQLite commit with synchronous FULL",
  run: measure,
});
