/** Hundreds of senders whose bodies never end: strangers' are not held, users' are bounded. Source: spec 5, 13. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { generateIdentity, type Identity } from "../../src/client/identity.ts";
import { Server, until } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { call, signedHeaders } from "../support/peer.ts";

const mebibyte = 1_048_576;
const senders = 200;
/** What each would send, if anybody let it. */
const bytesEach = 400 * mebibyte;
/** What the runtime may take in reserve while it refuses; a body of each would be twenty times that. */
const reserveBytes = 32 * mebibyte;
/** What all bodies in memory may hold together. */
const budgetBytes = 64 * mebibyte;

let server: Server;
let people: Cast<"ana" | "bo">;
beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=1000000"] });
  people = await castOf(server, "ana", "bo");
  // What the first requests cost in memory is nobody's attack.
  for (let i = 0; i < 200; i++) await call(server.ready.http, people.ana, "GET", "/directory");
  await flood(() => []);
}, 30_000);
afterAll(() => server[Symbol.asyncDispose]());

const statusKiB = (name: string) =>
  Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))?.[1]);

/** By how many bytes the server's memory rose at its highest while `work` ran. */
async function growth(work: () => Promise<void>): Promise<number> {
  // Starts the peak anew.
  writeFileSync(`/proc/${server.pid}/clear_refs`, "5");
  const before = statusKiB("VmRSS");
  await work();
  return (statusKiB("VmHWM") - before) * 1_024;
}

const lines = (headers: Record<string, string>) => Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
const part = Buffer.alloc(mebibyte / 4, "x");
const chunk = Buffer.concat([Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from("\r\n")]);

/** One sender of chunks without end. Gives the status line and how much the server took off its hands. */
async function pour(target: string, more: readonly string[]): Promise<{ status: string; sent: number }> {
  const { hostname, port, host } = new URL(server.ready.http);
  const socket = connect(Number(port), hostname);
  const ended = Promise.withResolvers<void>();
  let reply = "";
  socket.on("data", (bytes) => {
    reply += bytes.toString();
  });
  socket.on("error", () => undefined);
  socket.on("close", () => ended.resolve());
  const head = [`POST ${target} HTTP/1.1`, `Host: ${host}`, "Transfer-Encoding: chunked", ...more];
  socket.write(`${head.join("\r\n")}\r\n\r\n`);
  let sent = 0;
  while (sent < bytesEach && !socket.destroyed) {
    sent += part.length;
    if (socket.write(chunk)) continue;
    await Promise.race([new Promise((resolve) => socket.once("drain", resolve)), ended.promise]);
  }
  socket.destroy();
  await ended.promise;
  return { status: reply.slice(9, 12), sent };
}

/** All senders at once. */
function flood(more: (index: number) => readonly string[], target = "/rooms") {
  return Promise.all(Array.from({ length: senders }, (_, index) => pour(target, more(index))));
}

const signedBy = (who: Identity, target = "/rooms") =>
  lines(signedHeaders(who, { url: server.ready.http, method: "POST", target }));

/** Floods, and asks as a user meanwhile. */
async function expectHarmless(
  more: (index: number) => readonly string[],
  statuses: readonly string[],
  growthMax: number,
): Promise<void> {
  let going = true;
  let poured: Awaited<ReturnType<typeof flood>> = [];
  const grown = await growth(async () => {
    const over = flood(more).finally(() => {
      going = false;
    });
    await until("it is over", async () => {
      expect((await call(server.ready.http, people.bo, "GET", "/directory")).status).toBe(200);
      return !going;
    });
    poured = await over;
  });
  // Whoever still sends when the server hangs up may lose the reply.
  for (const { status } of poured) expect(["", ...statuses]).toContain(status);
  expect(poured.some(({ status }) => status !== "")).toBe(true);
  // What is counted here lies in the sockets between them, not in the server.
  expect(Math.max(...poured.map(({ sent }) => sent))).toBeLessThan(bytesEach / 10);
  expect(grown).toBeLessThan(growthMax);
}

test(`${senders} strangers who send without end, unsigned: refused, and nothing of it is held`, async () => {
  await expectHarmless(() => [], ["401"], reserveBytes);
}, 30_000);

test(`${senders} who sign, but are no users: likewise`, async () => {
  const stranger = await generateIdentity();
  await expectHarmless(() => signedBy(stranger), ["401"], reserveBytes);
}, 30_000);

test(`${senders} bodies of a user at once are bounded by the one budget`, async () => {
  await expectHarmless(() => signedBy(people.ana), ["413", "503"], budgetBytes + reserveBytes);
  expect((await call(server.ready.http, people.ana, "GET", "/directory")).status).toBe(200);
}, 30_000);

test(`${senders} at /register, which takes no signature, are cut at its 4 KiB`, async () => {
  let poured: Awaited<ReturnType<typeof flood>> = [];
  const grown = await growth(async () => {
    poured = await flood(() => [], "/register");
  });
  for (const { status } of poured) expect(["", "413"]).toContain(status);
  expect(grown).toBeLessThan(reserveBytes);
}, 30_000);

test("the budget is given back: a body of exactly 1 MiB is read as before", async () => {
  const body = "[]".padEnd(mebibyte, " ");
  const target = "/rooms";
  const headers = signedHeaders(people.ana, { url: server.ready.http, method: "POST", target, body });
  const reply = await fetch(`${server.ready.http}${target}`, { method: "POST", headers, body });
  expect([reply.status, ((await reply.json()) as { code: string }).code]).toEqual([400, "invalid"]);
});
