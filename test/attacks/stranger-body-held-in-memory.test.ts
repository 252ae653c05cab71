/**
 * Hundreds of senders whose bodies never end: strangers' bodies are not held, users' are bounded.
 * Source: docs/protocol/requests.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { Server, until } from "../support/executable.ts";
import { bytesEach, flood, growth, type Poured, signatureLines } from "../support/flood.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { call, signedHeaders } from "../support/peer.ts";

const mebibyte = 1_048_576;
const senders = 200;
/** What the runtime may allocate while it refuses; holding one body per sender would take five times that. */
const reserveBytes = 40 * mebibyte;
/** The limit for all bodies in memory together, and as much again before the runtime returns memory; without it 200. */
const budgetBytes = 2 * 64 * mebibyte;

let server: Server;
let people: Cast<"ana" | "bo">;
beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=1000000"] });
  people = await castOf(server, "ana", "bo");
  // Warms up: the memory that the first requests take does not count as an effect of the attack.
  for (let i = 0; i < 200; i++) await call(server.ready.http, people.ana, "GET", "/directory");
  await flood(server, senders, () => []);
}, 30_000);
afterAll(() => server[Symbol.asyncDispose]());

/** Floods the server and sends requests as a user at the same time. */
async function expectHarmless(
  lines: () => readonly string[],
  statuses: readonly string[],
  growthMax: number,
): Promise<void> {
  let going = true;
  let poured: Poured[] = [];
  const grown = await growth(server, async () => {
    const over = flood(server, senders, lines).finally(() => {
      going = false;
    });
    await until("the request is over", async () => {
      expect((await call(server.ready.http, people.bo, "GET", "/directory")).status).toBe(200);
      return !going;
    });
    poured = await over;
  });
  // A client that still sends when the server hangs up may lose the reply.
  for (const { status } of poured) expect(["", ...statuses]).toContain(status);
  expect(poured.some(({ status }) => status !== "")).toBe(true);
  // At most 16 MiB are drained, and the rest is in the buffers of the sockets and of a busy client.
  expect(Math.max(...poured.map(({ sent }) => sent))).toBeLessThan(bytesEach / 4);
  expect(grown).toBeLessThan(growthMax);
}

test(`${senders} strangers who send without end, unsigned: refused, and nothing is kept in memory`, async () => {
  await expectHarmless(() => [], ["401"], reserveBytes);
}, 30_000);

test(`${senders} who sign, but are not users: refused in the same way`, async () => {
  const stranger = await generateIdentity();
  await expectHarmless(() => signatureLines(server, stranger, "/rooms"), ["401"], reserveBytes);
}, 30_000);

test(`${senders} bodies of a user at once stay within the one budget`, async () => {
  await expectHarmless(() => signatureLines(server, people.ana, "/rooms"), ["413", "503"], budgetBytes);
  expect((await call(server.ready.http, people.ana, "GET", "/directory")).status).toBe(200);
}, 30_000);

test(`${senders} at /register, which needs no signature, are cut off at its 4 KiB`, async () => {
  let poured: Poured[] = [];
  const grown = await growth(server, async () => {
    poured = await flood(server, senders, () => [], "/register");
  });
  for (const { status } of poured) expect(["", "413"]).toContain(status);
  expect(grown).toBeLessThan(reserveBytes);
}, 30_000);

test("the budget is returned: a body of exactly 1 MiB is read as before", async () => {
  const body = "[]".padEnd(mebibyte, " ");
  const target = "/rooms";
  const headers = signedHeaders(people.ana, { url: server.ready.http, method: "POST", target, body });
  const reply = await fetch(`${server.ready.http}${target}`, { method: "POST", headers, body });
  expect([reply.status, ((await reply.json()) as { code: string }).code]).toEqual([400, "invalid"]);
});
