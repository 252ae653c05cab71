/** NATS over WebSocket: at `/nats` on the HTTP port, and on an address of its own. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { Server, until } from "../support/executable.ts";
import { addUser, call, createRoom, dial, freshSubject, history, policy, rawSign } from "../support/peer.ts";
import { dialWebSocket, RawWebSocket } from "../support/websocket.ts";

let server: Server;
let admin: Identity;
let ana: Identity;

beforeAll(async () => {
  server = await Server.start();
  admin = await addUser(server, "admin", { admin: true });
  ana = await addUser(server, "ana");
});
afterAll(() => server[Symbol.asyncDispose]());

const path = (): string => `${server.ready.http.replace("http:", "ws:")}/nats`;

describe("a stock client", () => {
  for (const [name, url] of [
    ["on the HTTP port", path],
    ["on the WebSocket address", () => server.ready.ws],
  ] as const) {
    test(`publishes and receives ${name}`, async () => {
      const room = await createRoom(server, ana, policy("persist"));
      const heard: string[] = [];
      const connection = await dialWebSocket(url(), ana);
      connection.subscribe(room.state.subject, { callback: (_, message) => void heard.push(message.string()) });
      await connection.flush();
      connection.publish(room.state.subject, "over WebSocket");
      await until("the message is received", () => heard.length === 1);
      await until("the message is stored", async () => (await history(server, ana, room)).length === 1);
      expect(heard).toEqual(["over WebSocket"]);
      await connection.close();
    });
  }

  test("may send and receive the largest message", async () => {
    const room = await createRoom(server, ana, policy("persist"));
    const connection = await dialWebSocket(path(), ana);
    const lengths: number[] = [];
    connection.subscribe(room.state.subject, { callback: (_, { data }) => void lengths.push(data.length) });
    const largest = connection.info?.max_payload ?? 0;
    connection.publish(room.state.subject, new Uint8Array(largest));
    await until("the message came back", () => lengths[0] === largest);
    await connection.close();
  });

  test("is disconnected at once when its user is revoked", async () => {
    const bob = await addUser(server, "bob");
    const connection = await dialWebSocket(path(), bob);
    const closed = connection.closed();
    await call(server.ready.http, admin, "POST", `/users/${bob.signPubHex}/revoke`);
    await closed;
    await expect(dialWebSocket(path(), bob)).rejects.toThrow();
  });
});

test("GET /info names both, and a plain request gets a hint", async () => {
  const info = (await (await fetch(`${server.ready.http}/info`)).json()) as { ws: string[] };
  expect(info.ws).toEqual([server.ready.ws, path()]);
  const plain = await fetch(`${server.ready.http}/nats`);
  expect([plain.status, ((await plain.json()) as { error: string }).error]).toEqual([
    400,
    "/nats is a WebSocket endpoint (connect with ws:// or wss://)",
  ]);
  expect((await fetch(`${server.ready.http}/nats`, { method: "POST" })).status).toBe(405);
});

test("pages of the server itself may connect, other pages not, and programs may", async () => {
  const { origin } = new URL(server.ready.http);
  for (const [headers, status] of [
    [{}, "101"],
    [{ Origin: origin }, "101"],
    [{ Origin: "https://evil.example" }, "403"],
    [{ Origin: origin.replace("127.0.0.1", "evil.example") }, "403"],
    [{ Origin: "null" }, "403"],
  ] as const) {
    using socket = new RawWebSocket(path(), headers);
    expect([headers, await socket.status]).toEqual([headers, expect.stringContaining(` ${status} `)]);
  }
});

test("a login at nats-server's own WebSocket listener is refused, because its client address is unknown", async () => {
  const config = JSON.parse(readFileSync(join(server.data, "nats", "nats.conf"), "utf8")) as object;
  expect(config).toMatchObject({ websocket: { listen: expect.stringMatching(/^127\.0\.0\.1:/), no_tls: true } });
  const folder = join(server.data, "nats", "ports");
  const [file = ""] = readdirSync(folder);
  const ports = JSON.parse(readFileSync(join(folder, file), "utf8")) as { websocket: string[] };
  const inner = new URL(ports.websocket[0] ?? "");
  expect(inner.port).not.toBe(new URL(server.ready.ws).port);
  await expect(dialWebSocket(`ws://127.0.0.1:${inner.port}`, ana)).rejects.toThrow();
});

test("from one address 64 connections may wait for a login, and a login frees its place", async () => {
  await using own = await Server.start();
  const user = await addUser(own, "ana");
  const url = `${own.ready.http.replace("http:", "ws:")}/nats`;
  using stack = new DisposableStack();
  const loggedIn = await dialWebSocket(url, user);
  for (let count = 0; count < 64; count++) {
    expect(await stack.use(new RawWebSocket(url)).status).toContain(" 101 ");
  }
  using refused = new RawWebSocket(url);
  expect(await refused.status).toContain(" 429 ");
  // Neither another address nor a connection that is already open is affected.
  await loggedIn.flush();
  stack.dispose();
  await until("there is a free place again", async () => {
    using next = new RawWebSocket(url);
    return (await next.status).includes(" 101 ");
  });
  await loggedIn.close();
});

test("a client that stops reading is slowed down by TCP, and the server buffers no more than the limit", async () => {
  await using own = await Server.start();
  const user = await addUser(own, "ana");
  const room = await createRoom(own, user, policy(), freshSubject());
  const rss = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${own.pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
  using slow = new RawWebSocket(`${own.ready.http.replace("http:", "ws:")}/nats`);
  await until("nats-server sent its INFO", () => slow.received.includes("INFO "));
  const nonce = /"nonce":"([^"]+)"/.exec(slow.received)?.[1] ?? "";
  const sig = Buffer.from(rawSign(user, nonce)).toString("base64url");
  slow.send(`CONNECT ${JSON.stringify({ verbose: false, protocol: 1, nkey: user.nkey, sig })}\r\nPING\r\n`);
  await until("the client is logged in", () => slow.received.includes("PONG"));
  slow.send(`SUB ${room.state.subject} 1\r\nPING\r\n`);
  await until("the client is subscribed", () => slow.received.split("PONG").length === 3);
  slow.socket.pause();
  const before = rss();
  const sender = await dial(own, user, { stock: true });
  const payload = new Uint8Array(524_288);
  for (let count = 0; count < 300; count++) {
    sender.publish(room.state.subject, payload);
    if (count % 10 === 0) await sender.flush();
  }
  await sender.flush();
  expect(rss() - before).toBeLessThan(40);
  await sender.close();
});
