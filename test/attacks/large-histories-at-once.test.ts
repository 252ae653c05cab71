/** A member reads a large room many times at once, so that nats-server cuts unibus off as a slow consumer. */
import { expect, test } from "bun:test";
import { Server } from "../support/executable.ts";
import { castOf } from "../support/inside.ts";
import { call, createRoom, dial, history, policy } from "../support/peer.ts";

const mebibyte = 1_048_576;
/** Together twice what nats-server lets a connection owe it. */
const reads = 16;

test("they wait for each other, and everybody else is served meanwhile", async () => {
  await using server = await Server.start({ args: ["--set", "http.rate=100000"] });
  const { ana, mallory } = await castOf(server, "ana", "mallory");
  const large = await createRoom(server, mallory, policy("persist"));
  const small = await createRoom(server, ana, policy("persist"));
  const publisher = await dial(server, mallory);
  for (let i = 0; i < 8; i++)
    await publisher.request(large.state.subject, new Uint8Array(mebibyte), { timeout: 10_000 });
  await publisher.close();
  const own = await dial(server, ana);
  await own.request(small.state.subject, "mine");
  await own.close();

  let isOver = false;
  const target = `/rooms/${large.state.roomId}/history`;
  const attack = Promise.all(
    Array.from({ length: reads }, () => call(server.ready.http, mallory, "GET", target)),
  ).finally(() => {
    isOver = true;
  });
  let served = 0;
  while (!isOver) {
    expect(await history(server, ana, small)).toEqual([Buffer.from("mine")]);
    await createRoom(server, ana, policy("persist"));
    served += 1;
  }
  expect(served).toBeGreaterThan(0);
  for (const reply of await attack) {
    // Whoever waited too long is told so; nobody gets a shorter list.
    if (reply.status === 503) continue;
    expect([reply.status, (reply.json.messages as string[] | undefined)?.length]).toEqual([200, 8]);
  }
  expect(await history(server, mallory, large)).toHaveLength(8);
  await server.end();
  // The connection that everybody shares was never lost.
  expect((await server.output()).stderr).not.toMatch(/disconnected|connected to nats-server again/);
}, 60_000);
