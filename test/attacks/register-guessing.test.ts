/**
 * Guessing invite tokens or signatures: failed attempts draw from a much smaller rate bucket.
 * Source: docs/protocol/requests.md, docs/threat-model.md.
 */
import { expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { signatureHeaders } from "../../src/wire/sign.ts";
import { firstAdmin, invite, register } from "../support/accounts.ts";
import { Server } from "../support/executable.ts";
import { call, type Reply, send, signedHeaders } from "../support/peer.ts";

/** The general bucket is large; the tight one holds a few tokens and refills one in minutes. */
const rate = 0.05;
const proxied = ["--set", `http.rate=${rate}`, "--set", 'http.trusted_proxies=["127.0.0.1"]'];

/** Sends requests one after the other. Returns their replies. */
async function series(count: number, ask: () => Promise<Reply>): Promise<Reply[]> {
  const replies: Reply[] = [];
  for (let i = 0; i < count; i++) replies.push(await ask());
  return replies;
}

const guess = () => randomBytes(32).toString("hex");

test("guesses are answered 429 with Retry-After after a few, even for the right token", async () => {
  await using server = await Server.start({ args: ["--set", "http.rate=40"] });
  const admin = await firstAdmin(server);
  const { token } = await invite(server, admin, { handle: "ana" });
  const [eve, ana] = [await generateIdentity(), await generateIdentity()];
  // A tenth of the rate with a burst of two seconds: 8 at once, then 4 per second.
  const began = performance.now();
  const replies = await series(60, () => register(server.ready.http, guess(), eve));
  const seconds = (performance.now() - began) / 1_000;
  const answered = replies.filter(({ status }) => status === 404).length;
  expect(answered).toBeLessThanOrEqual(8 + Math.ceil(4 * seconds) + 1);
  const refused = replies.filter(({ status }) => status === 429);
  expect(refused).toHaveLength(60 - answered);
  expect(refused.length).toBeGreaterThan(10);
  for (const { json, headers } of refused) {
    expect(json.code).toBe("rate_limited");
    expect(Number(headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
  }
  // The bucket is charged before the token is checked: otherwise the reply would reveal whether a guess is right.
  const tries = await series(3, () => register(server.ready.http, token, ana));
  expect(tries.some(({ status }) => status === 429)).toBe(true);
}, 30_000);

test("authentication failures are limited in the same way, whatever their cause, and share the bucket", async () => {
  const stranger = await generateIdentity();
  const wrong: Readonly<Record<string, (server: Server, client: string, admin: Identity) => Promise<Reply>>> = {
    "no signature": (server, client) => as(server, client, {}),
    "a stranger's signature": (server, client) => as(server, client, head(server, stranger)),
    "a corrupted signature": (server, client, admin) =>
      as(server, client, { ...head(server, admin), [signatureHeaders.sig]: Buffer.alloc(64, 7).toString("base64") }),
    "a signature for another host": (server, client, admin) =>
      as(server, client, signedHeaders(admin, { url: server.ready.http, method: "GET", target, host: "other:1" })),
    "an expired signature": (server, client, admin) =>
      as(server, client, signedHeaders(admin, { url: server.ready.http, method: "GET", target, host, skewS: -90 })),
  };
  const target = "/directory";
  // Requests through a proxy are signed for the proxy's name.
  const host = "bus.example";
  const as = (server: Server, client: string, headers: Record<string, string>) =>
    send(`${server.ready.http}${target}`, { headers: { ...headers, "x-forwarded-for": client } });
  const head = (server: Server, user: Identity) =>
    signedHeaders(user, { url: server.ready.http, method: "GET", target, host });

  await using server = await Server.start({
    args: ["--set", "http.rate=20", "--set", `http.hosts=["${host}"]`, ...proxied.slice(2)],
  });
  const admin = await firstAdmin(server);
  for (const [index, [what, ask]] of Object.entries(wrong).entries()) {
    // One client address per case: the wide bucket holds 40, the tight one 4.
    const replies = await series(12, () => ask(server, `198.51.100.${index}`, admin));
    const statuses = replies.map(({ status }) => status);
    expect([what, statuses.slice(0, 4)]).toEqual([what, [401, 401, 401, 401]]);
    expect([what, statuses.slice(8).every((status) => status === 429)]).toEqual([what, true]);
    expect(Number(replies.at(-1)?.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
    // The same address with a valid signature passes: other clients behind it are not locked out.
    expect([what, (await as(server, `198.51.100.${index}`, head(server, admin))).status]).toEqual([what, 200]);
  }
  const body = JSON.stringify({ token: guess() });
  const there = { method: "POST", body, headers: { "x-forwarded-for": "198.51.100.0" } };
  expect((await send(`${server.ready.http}/register`, there)).status).toBe(429);
}, 30_000);

test("a body of /register above 4 KiB is refused, declared or not", async () => {
  await using server = await Server.start();
  const fits = JSON.stringify({ token: "x" }).padEnd(4_096, " ");
  const post = (body: BodyInit) => send(`${server.ready.http}/register`, { method: "POST", body });
  const stream = (text: string) => new Response(text).body as ReadableStream;
  expect((await post(fits)).status).toBe(400);
  expect((await post(`${fits} `)).json.code).toBe("too_large");
  expect((await post(stream(`${fits} `))).json.code).toBe("too_large");
  expect((await call(server.ready.http, null, "POST", "/register", { token: 1 })).status).toBe(400);
});
