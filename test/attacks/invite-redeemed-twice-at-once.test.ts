/**
 * One invite redeemed by many clients at the same moment, each on its own connection.
 * Source: docs/protocol/identity.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { connect } from "node:net";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { firstAdmin, handles, invite, register } from "../support/accounts.ts";
import { Server } from "../support/executable.ts";
import { call } from "../support/peer.ts";

const hands = 32;

let server: Server;
let admin: Identity;
beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=100000"] });
  admin = await firstAdmin(server);
});
afterAll(() => server[Symbol.asyncDispose]());

/** Sends a request up to its last byte. Returns a function that sends that byte. */
async function poised(token: string, { signPubHex, kexPubHex, kexSig }: Identity): Promise<() => Promise<number>> {
  const { hostname, port } = new URL(server.ready.http);
  const socket = connect(Number(port), hostname);
  const body = JSON.stringify({ token, sign_pub: signPubHex, kex_pub: kexPubHex, kex_sig: kexSig });
  const head = ["POST /register HTTP/1.1", "Host: bus", `Content-Length: ${body.length}`, "Connection: close"];
  await new Promise<void>((resolve) => {
    socket.write(`${head.join("\r\n")}\r\n\r\n${body.slice(0, -1)}`, () => resolve());
  });
  const answered = new Promise<number>((resolve, reject) => {
    let reply = "";
    socket.on("data", (bytes) => {
      reply += bytes.toString();
    });
    socket.on("close", () => resolve(Number(reply.split(" ")[1])));
    socket.on("error", reject);
  });
  return () => {
    socket.write(body.slice(-1));
    return answered;
  };
}

test("by different people: one is admitted, all others get an error that it is used", async () => {
  for (let round = 0; round < 5; round++) {
    const { token } = await invite(server, admin, { handle: `guest${round}` });
    const crowd = await Promise.all(Array.from({ length: hands }, () => generateIdentity()));
    const ready = await Promise.all(crowd.map((one) => poised(token, one)));
    const statuses = await Promise.all(ready.map((go) => go()));
    expect(statuses.filter((status) => status === 201)).toHaveLength(1);
    expect(statuses.filter((status) => status === 409)).toHaveLength(hands - 1);
    const inside = await Promise.all(crowd.map((one) => call(server.ready.http, one, "GET", "/directory")));
    expect(inside.map(({ status }) => status === 200)).toEqual(statuses.map((status) => status === 201));
  }
  expect(await handles(server, admin)).toEqual(["admin", ...[0, 1, 2, 3, 4].map((round) => `guest${round}`)]);
}, 30_000);

test("by one person: every answer is the same, and there is one user", async () => {
  const { token } = await invite(server, admin, { handle: "twice" });
  const one = await generateIdentity();
  const ready = await Promise.all(Array.from({ length: hands }, () => poised(token, one)));
  expect(new Set(await Promise.all(ready.map((go) => go())))).toEqual(new Set([201]));
  expect((await handles(server, admin)).filter((handle) => handle === "twice")).toHaveLength(1);
}, 30_000);

test("two invites at once with the same keys: one is accepted, the other is spent", async () => {
  const links = [await invite(server, admin, { handle: "first" }), await invite(server, admin, { handle: "second" })];
  const [one, other] = [await generateIdentity(), await generateIdentity()];
  const ready = await Promise.all(links.map(({ token }) => poised(token, one)));
  const statuses = await Promise.all(ready.map((go) => go()));
  expect(statuses.toSorted()).toEqual([201, 409]);
  for (const { token } of links) expect((await register(server.ready.http, token, other)).status).toBe(409);
  expect((await call(server.ready.http, admin, "GET", "/invites")).json.invites).toEqual([]);
}, 30_000);
