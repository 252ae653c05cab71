/**
 * Attack: clients behind one proxy share one rate bucket and lock each other out.
 * Source: docs/protocol/requests.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { request as ask, createServer, type Server as Listener } from "node:http";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { Server } from "../support/executable.ts";
import { call, send, signedHeaders } from "../support/peer.ts";

/** A rate so low that no token is refilled during the test. */
const rate = 0.02;

let server: Server;
let proxy: Listener;
let front: string;

/**
 * Starts a typical reverse proxy: it appends the caller's address, which the caller here chooses, to X-Forwarded-For.
 */
function startProxy(): Promise<Listener> {
  const upstream = new URL(server.ready.http);
  const listener = createServer((request, response) => {
    const { "x-test-client": client, ...headers } = request.headers;
    const seen = [headers["x-forwarded-for"], client].filter(Boolean).join(", ");
    const { hostname, port } = upstream;
    const options = { hostname, port, path: request.url, method: request.method };
    const onward = ask({ ...options, headers: { ...headers, "x-forwarded-for": seen } }, (reply) => {
      response.writeHead(reply.statusCode ?? 502, reply.headers);
      reply.pipe(response);
    });
    request.pipe(onward);
  });
  return new Promise((resolve) => listener.listen(0, "127.0.0.1", () => resolve(listener)));
}

beforeAll(async () => {
  const settings = [`http.rate=${rate}`, 'http.trusted_proxies=["127.0.0.1"]'];
  server = await Server.start({ args: settings.flatMap((setting) => ["--set", setting]) });
  proxy = await startProxy();
  const address = proxy.address();
  front = `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}`;
});
afterAll(async () => {
  proxy.close();
  proxy.closeAllConnections();
  await server[Symbol.asyncDispose]();
});

const get = (client: string, forged?: string) =>
  send(`${front}/info`, {
    headers: { "x-test-client": client, ...(forged === undefined ? {} : { "x-forwarded-for": forged }) },
  });

test("two clients have separate buckets: using up one does not affect the other", async () => {
  expect((await get("192.0.2.1")).status).toBe(200);
  for (let i = 0; i < 5; i++) expect((await get("192.0.2.1")).status).toBe(429);
  expect((await get("192.0.2.2")).status).toBe(200);
  expect((await get("192.0.2.2")).status).toBe(429);
  expect((await get("2001:db8::1")).status).toBe(200);
});

test("an address that a client adds to the header itself changes no bucket, its own or another's", async () => {
  expect((await get("192.0.2.10")).status).toBe(200);
  for (const forged of ["192.0.2.11", "127.0.0.1", "192.0.2.11, 127.0.0.1", "junk", ""]) {
    expect([forged, (await get("192.0.2.10", forged)).status]).toEqual([forged, 429]);
  }
  expect((await get("192.0.2.11")).status).toBe(200);
});

test("a flood of addresses does not lock out a new client", async () => {
  const flood = Array.from({ length: 300 }, (_, i) => get(`198.51.${i >> 8}.${i & 255}`));
  expect(new Set((await Promise.all(flood)).map(({ status }) => status))).toEqual(new Set([200]));
  expect((await get("192.0.2.20")).status).toBe(200);
});

test("authentication failures are counted for each client, too", async () => {
  const stranger = await generateIdentity();
  const target = "/directory";
  const knock = async (client: string) => {
    const headers = signedHeaders(stranger, { url: front, method: "GET", target });
    return (await send(`${front}${target}`, { headers: { ...headers, "x-test-client": client } })).status;
  };
  expect(await knock("192.0.2.30")).toBe(401);
  expect(await knock("192.0.2.30")).toBe(429);
  expect(await knock("192.0.2.31")).toBe(401);
});

test("a client behind an untrusted proxy counts as that proxy", async () => {
  await using other = await Server.start({
    args: ["--set", `http.rate=${rate}`, "--set", 'http.trusted_proxies=["192.0.2.0/24"]'],
  });
  const from = (client: string) => send(`${other.ready.http}/info`, { headers: { "x-forwarded-for": client } });
  expect((await from("198.51.100.1")).status).toBe(200);
  expect((await from("198.51.100.2")).status).toBe(429);
  expect((await call(other.ready.http, null, "GET", "/healthz")).status).toBe(200);
});
