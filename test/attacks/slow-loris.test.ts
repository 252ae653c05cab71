/**
 * Slow-loris attacks: connections that trickle a head or a body, or send nothing. The server must disconnect them
 * within a bound while it serves other users, and must not disconnect a client that downloads slowly but steadily.
 * Source: docs/protocol/requests.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { connect, type Socket } from "node:net";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { Server, until } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { send, signedHeaders } from "../support/peer.ts";

/** Every attack must have ended by then. */
const cutMsMax = 25_000;
/** Longer than the idle timeout of a silent connection, so that the download outlives it. */
const slowDownloadMs = 33_000;
const connectionsOfEach = 40;

let server: Server;
let people: Cast<"ana">;
let download: ReturnType<typeof slowly>;

const blob = new Uint8Array(16 * 1_048_576).map((_, i) => (i * 31) & 255);
const hash = createHash("sha256").update(blob).digest("hex");

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=100000"] });
  people = await castOf(server, "ana");
  const signed = { url: server.ready.http, method: "POST", target: "/blobs", body: blob };
  const stored = await send(`${server.ready.http}/blobs`, {
    method: "POST",
    headers: signedHeaders(people.ana, signed),
    body: blob,
  });
  expect(stored.status).toBe(201);
  // Runs in parallel with the other tests.
  download = slowly(people.ana, `/blobs/${hash}`);
});
afterAll(() => server[Symbol.asyncDispose]());

const lines = (headers: Record<string, string>) => Object.entries(headers).map(([name, value]) => `${name}: ${value}`);

function open(): Socket {
  const { hostname, port } = new URL(server.ready.http);
  return connect(Number(port), hostname);
}

/** Sends `head`, then `drip` again and again. Returns what the server answers until it disconnects. */
async function trickle(head: string, drip: string): Promise<string> {
  const socket = open();
  let reply = "";
  const ended = Promise.withResolvers<void>();
  socket.on("data", (bytes) => {
    reply += bytes.toString();
  });
  socket.on("error", () => undefined);
  socket.on("close", () => ended.resolve());
  socket.write(head);
  const dripping = setInterval(() => drip !== "" && socket.write(drip), 200);
  const late = setTimeout(() => ended.reject(new Error("it was never cut")), cutMsMax);
  try {
    await ended.promise;
    return reply;
  } finally {
    clearInterval(dripping);
    clearTimeout(late);
    socket.destroy();
  }
}

/** Downloads a little at a time, until long after the idle timeout. */
function slowly(user: Identity, target: string): Promise<{ ms: number; bytes: number; hash: string }> {
  const headers = signedHeaders(user, { url: server.ready.http, method: "GET", target });
  const socket = open();
  const digest = createHash("sha256");
  const began = performance.now();
  const ended = Promise.withResolvers<{ ms: number; bytes: number; hash: string }>();
  let bytes = -1;
  let head = "";
  socket.on("data", (chunk: Buffer) => {
    let body = chunk;
    if (bytes === -1) {
      head += chunk.toString("latin1");
      const end = head.indexOf("\r\n\r\n");
      if (end === -1) return;
      body = Buffer.from(head.slice(end + 4), "latin1");
      bytes = 0;
    }
    bytes += body.length;
    digest.update(body);
    const ms = performance.now() - began;
    if (bytes >= blob.length) {
      ended.resolve({ ms, bytes, hash: digest.digest("hex") });
      socket.destroy();
      return;
    }
    // Reads bytes in proportion to the elapsed time.
    const due = slowDownloadMs * (bytes / blob.length) - ms;
    if (due <= 0) return;
    socket.pause();
    setTimeout(() => socket.resume(), due);
  });
  socket.on("close", () => ended.reject(new Error(`cut after ${bytes} bytes`)));
  socket.on("error", () => undefined);
  const host = new URL(server.ready.http).host;
  socket.write(`${[`GET ${target} HTTP/1.1`, `Host: ${host}`, ...lines(headers)].join("\r\n")}\r\n\r\n`);
  // Awaited at the end of the file: an earlier rejection must not count as unhandled.
  ended.promise.catch(() => undefined);
  return ended.promise;
}

const start = (more: readonly string[]) => ["POST /register HTTP/1.1", "Host: bus", ...more, "", ""].join("\r\n");

const attacks: Readonly<Record<string, readonly [head: string, drip: string]>> = {
  "sends nothing": ["", ""],
  "stops in the middle of its first line": ["GET /in", ""],
  "sends headers without end": ["GET /info HTTP/1.1\r\nHost: bus\r\n", "X-More: 1\r\n"],
  "sends one header, a character at a time": ["GET /info HTTP/1.1\r\nX-Long: ", "x"],
  "sends a declared body, a byte at a time": [start(["Content-Length: 4000"]), "x"],
  "never sends its declared body": [start(["Content-Length: 4000"]), ""],
  "sends chunks of one byte": [start(["Transfer-Encoding: chunked"]), "1\r\nx\r\n"],
  "never ends a chunk's header line": [`${start(["Transfer-Encoding: chunked"])}1;`, "x"],
};

test("many connections that trickle are closed, and users are still served", async () => {
  const cut = Object.entries(attacks).flatMap(([what, [head, drip]]) =>
    Array.from({ length: connectionsOfEach }, async () => [what, (await trickle(head, drip)).slice(0, 12)] as const),
  );
  let going = true;
  const over = Promise.all(cut).finally(() => {
    going = false;
  });
  // Awaited below: an earlier rejection must not count as unhandled.
  over.catch(() => undefined);
  let served = 0;
  await until(
    "all of them are closed",
    async () => {
      const headers = signedHeaders(people.ana, { url: server.ready.http, method: "GET", target: "/directory" });
      const began = performance.now();
      expect((await send(`${server.ready.http}/directory`, { headers })).status).toBe(200);
      expect(performance.now() - began).toBeLessThan(5_000);
      served += 1;
      return !going;
    },
    cutMsMax + 5_000,
  );
  expect(served).toBeGreaterThan(50);
  for (const [what, reply] of await over) {
    // A slow head is cut without a reply; a slow body gets a 408.
    const expected = attacks[what]?.[0].startsWith("POST") ? "HTTP/1.1 408" : "";
    expect([what, reply]).toEqual([what, expected]);
  }
}, 40_000);

test("a signed body that trickles is cut off like any other", async () => {
  const signed = { url: server.ready.http, method: "POST", target: "/rooms", body: "{}" };
  const host = new URL(server.ready.http).host;
  const head = ["POST /rooms HTTP/1.1", `Host: ${host}`, "Content-Length: 4000"];
  const reply = await trickle([...head, ...lines(signedHeaders(people.ana, signed)), "", ""].join("\r\n"), " ");
  expect(reply).toStartWith("HTTP/1.1 408 ");
  expect(reply).toContain('"code":"timeout"');
  expect(reply.toLowerCase()).toContain("connection: close");
}, 40_000);

test("a slow and steady download is not cut off", async () => {
  const { ms, ...got } = await download;
  expect(got).toEqual({ bytes: blob.length, hash });
  expect(ms).toBeGreaterThan(slowDownloadMs * 0.95);
}, 60_000);
