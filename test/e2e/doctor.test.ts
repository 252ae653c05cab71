/** `unibus doctor` finds JetStream objects without a row, and rows without their objects, and fixes both. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { ulid } from "ulid";
import { consumerName, streamName } from "../../src/wire/names.ts";
import { roomStreamConfig } from "../../src/wire/room-stream.ts";
import { Folder, Server, unibus, until } from "../support/executable.ts";
import { type Cast, castOf, inside, jetStream, streamState } from "../support/inside.ts";
import { at, call, createRoom, freshSubject, policy } from "../support/peer.ts";

let server: Server;
let people: Cast<"ana">;

beforeAll(async () => {
  server = await Server.start();
  people = await castOf(server, "ana");
});
afterAll(() => server[Symbol.asyncDispose]());

const doctor = (...args: string[]) => unibus(server.folder, ["doctor", "--data", server.data, ...args]);

async function findings(...args: string[]): Promise<unknown[]> {
  const { code, stdout, stderr } = await doctor("--json", ...args);
  expect([code, stderr]).toEqual([0, ""]);
  return (JSON.parse(stdout) as { findings: unknown[] }).findings;
}

test("a healthy server has no findings, and the check disturbs no connection", async () => {
  const room = await createRoom(server, people.ana, policy("persist"));
  expect((await call(server.ready.http, people.ana, "PUT", at(room, "/durable"))).status).toBe(200);
  const { code, stdout, stderr } = await doctor();
  expect([code, stdout, stderr]).toEqual([0, "", "no problems found: streams and durables match the rooms\n"]);
  const health = await fetch(`${server.ready.http}/readyz`);
  expect(health.status).toBe(200);
});

test("orphans are listed, kept, and removed on request", async () => {
  const bus = await inside(server);
  const [lost, whole] = [
    await createRoom(server, people.ana, policy("persist")),
    await createRoom(server, people.ana, policy("persist")),
  ];
  const lostStream = streamName(lost.state.roomId);
  const wholeStream = streamName(whole.state.roomId);
  await jetStream(bus, `STREAM.DELETE.${lostStream}`);
  const stranger = consumerName(whole.state.roomId, "A".repeat(43));
  const config = { durable_name: stranger, deliver_subject: "_DELIVER.nobody.x.main", ack_policy: "explicit" };
  await jetStream(bus, `CONSUMER.DURABLE.CREATE.${wholeStream}.${stranger}`, { stream_name: wholeStream, config });
  const orphan = { roomId: ulid(), subject: freshSubject(), replicas: 1, bytesMax: -1, whenFull: "refuse" } as const;
  const orphanStream = streamName(orphan.roomId);
  await jetStream(bus, `STREAM.CREATE.${orphanStream}`, roomStreamConfig(orphan));

  const expected = [
    { kind: "row_without_stream", stream: lostStream },
    { kind: "consumer_without_device", stream: wholeStream, consumer: stranger },
    // A younger stream might belong to a room that is being created.
    { kind: "stream_without_row", stream: orphanStream },
  ];
  await until("the orphan is old enough", async () => (await findings()).length === 3);
  expect(await findings()).toEqual(expected);
  const listing = await doctor();
  expect(listing.stdout.trim().split("\n")).toEqual([
    `row without stream\t${lostStream}`,
    `consumer without device\t${wholeStream}\t${stranger}`,
    `stream without row\t${orphanStream}`,
  ]);
  expect(await streamState(bus, lost)).toBeNull();

  expect(await findings("--fix")).toEqual(expected);
  expect(await findings()).toEqual([]);
  expect(await streamState(bus, lost)).toMatchObject({ messages: 0 });
  expect(await streamState(bus, whole)).toMatchObject({ consumer_count: 0 });
  const names = (await jetStream<{ streams: string[] }>(bus, "STREAM.NAMES")).streams;
  expect(names).not.toContain(orphanStream);
  await bus.close();
}, 40_000);

test("a missing requirement is reported in one line", async () => {
  using folder = new Folder();
  const missing = await unibus(folder, ["doctor", "--data", folder.file("none")]);
  expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining("there is no bus in")]);
  const idle = await Server.start({ folder });
  await idle.end();
  const stopped = await unibus(folder, ["doctor", "--data", idle.data]);
  expect(stopped.code).toBe(1);
  expect(stopped.stderr).toMatch(/^error: no server runs on .* \(start it with unibus serve, then try again\)\n$/);
});
