/**
 * A member who reads in a loop: others are still served, the reader is slowed down and can be removed.
 * Source: docs/protocol/logins.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { Server, until } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { addMembers, call, createRoom, type OwnRoom, policy, postUser, signedHeaders } from "../support/peer.ts";

/** Users in a list: enough that one read takes milliseconds. */
const users = 400;
const readers = 32;
const stormMs = 4_000;

let server: Server;
let people: Cast<"mallory" | "bob" | "cleo">;
let room: OwnRoom;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=1000000", "--set", "http.user_share=0.02"] });
  people = await castOf(server, "mallory", "bob", "cleo");
  for (let n = 0; n < users; n += 20) {
    await Promise.all(Array.from({ length: 20 }, (_, i) => postUser(server, people.admin, `user ${n + i}`)));
  }
  room = await createRoom(server, people.bob, policy());
  room = await addMembers(server, room, people.mallory, people.cleo);
}, 60_000);
afterAll(() => server?.[Symbol.asyncDispose]());

/** Sends a signed read. Returns its status and duration in milliseconds. */
async function read(user: Identity, target: string): Promise<{ status: number; ms: number }> {
  const began = performance.now();
  const url = server.ready.http;
  const reply = await fetch(`${url}${target}`, { headers: signedHeaders(user, { url, method: "GET", target }) });
  await reply.arrayBuffer();
  return { status: reply.status, ms: performance.now() - began };
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;

test("a member who reads lists without end is slowed down, and no other user is", async () => {
  const { mallory, bob, cleo, admin } = people;
  const readersMs: number[] = [];
  let isOver = false;
  const storm = Array.from({ length: readers }, async () => {
    while (!isOver) {
      const { status, ms } = await read(mallory, "/directory");
      expect([200, 429, 401]).toContain(status);
      readersMs.push(ms);
    }
  });
  await until("the reader has used a share", () => readersMs.length > 4 * readers);
  const others: { status: number; ms: number }[] = [];
  for (const end = performance.now() + stormMs; performance.now() < end; await Bun.sleep(10)) {
    others.push(await read(bob, "/directory?handle=cleo"));
    others.push(await read(bob, `/rooms/${room.state.roomId}/members`));
  }
  // Writes are not charged, not even the reader's own, and never wait.
  const changes = [
    () => call(server.ready.http, mallory, "DELETE", `/rooms/${room.state.roomId}/members/${mallory.endpoint}`),
    () => call(server.ready.http, admin, "POST", `/users/${mallory.signPubHex}/revoke`),
  ];
  for (const change of changes) expect((await change()).status).toBe(204);
  isOver = true;
  await Promise.all(storm);
  expect(new Set(others.map(({ status }) => status))).toEqual(new Set([200]));
  const ms = { reader: median(readersMs), others: median(others.map((one) => one.ms)) };
  expect(ms.others).toBeLessThan(ms.reader / 3);
  expect((await read(mallory, "/directory")).status).toBe(401);
  expect((await read(cleo, "/directory?limit=1")).status).toBe(200);
}, 60_000);
