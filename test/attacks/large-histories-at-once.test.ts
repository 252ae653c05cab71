/** A member reads a large room many times at once, so that nats-server would disconnect unibus as a slow consumer. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { Server, until } from "../support/executable.ts";
import { castOf } from "../support/inside.ts";
import { call, createRoom, dial, history, policy, signedHeaders } from "../support/peer.ts";

const mebibyte = 1_048_576;
/** Together twice the pending bytes that nats-server allows a connection. */
const reads = 16;

test("large reads by one user wait for each other, and other users are still served", async () => {
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
    // A read that waits too long gets an error; no read returns a shorter list.
    if (reply.status === 503 || reply.status === 429) continue;
    expect([reply.status, (reply.json.messages as string[] | undefined)?.length]).toEqual([200, 8]);
  }
  expect(await history(server, mallory, large)).toHaveLength(8);
  await server.end();
  // The shared connection was never lost.
  expect((await server.output()).stderr).not.toMatch(/disconnected|connected to nats-server again/);
}, 60_000);

/** Returns the resident memory of a process, in bytes. */
const residentBytes = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1_024;

test("a member who requests histories without reading them keeps a few in memory, and other users are served", async () => {
  await using server = await Server.start({ args: ["--set", "http.rate=100000"] });
  const { ana, mallory } = await castOf(server, "ana", "mallory");
  const large = await createRoom(server, mallory, policy("persist"));
  const small = await createRoom(server, ana, policy("persist"));
  const publisher = await dial(server, mallory);
  for (let i = 0; i < 8; i++) {
    await publisher.request(large.state.subject, new Uint8Array(mebibyte), { timeout: 10_000 });
  }
  await publisher.close();
  const before = residentBytes(server.pid);

  const { hostname, port, host } = new URL(server.ready.http);
  const target = `/rooms/${large.state.roomId}/history`;
  const answers: string[] = [];
  const sockets: Socket[] = [];
  for (let i = 0; i < 60; i++) {
    const headers = { Host: host, ...signedHeaders(mallory, { url: server.ready.http, method: "GET", target }) };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
    const socket = connect(Number(port), hostname, () =>
      socket.write(`GET ${target} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`),
    );
    socket.once("data", (data) => {
      socket.pause();
      answers.push(data.toString("latin1").slice(9, 12));
    });
    sockets.push(socket);
  }
  try {
    await until("the maximum number of replies is in progress", () => answers.length >= 4);
    expect(await history(server, ana, small)).toEqual([]);
    await until("the other requests are refused", () => answers.length === sockets.length);
    expect(answers.filter((status) => status === "200").length).toBeLessThanOrEqual(4);
    expect(answers.filter((status) => status === "429").length).toBeGreaterThanOrEqual(sockets.length - 4);
    expect(residentBytes(server.pid) - before).toBeLessThan(250 * mebibyte);
  } finally {
    for (const socket of sockets) socket.destroy();
  }
  await until("mallory reads again", async () => {
    return (await call(server.ready.http, mallory, "GET", target)).status === 200;
  });
}, 60_000);
