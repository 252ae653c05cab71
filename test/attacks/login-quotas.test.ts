/**
 * Limits on logins: one user with many connections, one address with many logins, a stranger who sends garbage from a
 * user's address. None of them may lock out other users, and a client that is only rate-limited must never be denied: a
 * denial makes clients give up, a dropped connection makes them retry. Source: docs/protocol/logins.md.
 */
import { expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { Rooms } from "../../src/contracts/rooms.ts";
import { UserStore } from "../../src/contracts/store.ts";
import { UnibusError } from "../../src/wire/errors.ts";
import { Server, until } from "../support/executable.ts";
import { bootInProcess } from "../support/in-process.ts";
import { castOf } from "../support/inside.ts";
import { loginOf, RawNats, rawPeer } from "../support/raw-nats.ts";

/** The default limit of connections per user. Source: docs/protocol/logins.md. */
const connectionsMax = 32;

const denied = "Authorization Violation";
/** What a client sees when its connection is dropped: it reconnects. After two denials it closes for good. */
const dropped = "hung up";

async function login(server: Server, user: Identity): Promise<string> {
  using raw = await RawNats.open(server.ready.nats);
  return await raw.login(loginOf(user, raw));
}

async function garbage(server: Server, user: Identity): Promise<string> {
  using raw = await RawNats.open(server.ready.nats);
  return await raw.login({ nkey: user.nkey, sig: Buffer.alloc(64, 7).toString("base64url") });
}

const countOf = (answers: readonly string[], answer: string): number => answers.filter((one) => one === answer).length;

test("the 33rd connection of a user is refused, and other users are admitted", async () => {
  await using server = await Server.start();
  const { ana, bob } = await castOf(server, "ana", "bob");
  const connections: RawNats[] = [];
  for (let index = 0; index < connectionsMax; index++) connections.push(await rawPeer(server.ready.nats, ana));
  // Those connections are young and may be leftovers of a dead client, so the new one must retry instead of giving up.
  expect(await login(server, ana)).toBe(dropped);
  expect(await login(server, bob)).toBe("");
  for (const connection of connections) expect(connection.isClosed).toBe(false);
  connections[0]?.[Symbol.dispose]();
  await until("there is room for one", async () => (await login(server, ana)) === "");
  for (const connection of connections) connection[Symbol.dispose]();
}, 60_000);

test("once all of them have answered a ping the 33rd is denied, so that its user sees the reason", async () => {
  let offMs = 0;
  await using bus = await bootInProcess({ now: () => Date.now() + offMs });
  const { ana, bob } = await castOf(bus.server, "ana", "bob");
  const connections: RawNats[] = [];
  for (let index = 0; index < connectionsMax; index++) connections.push(await rawPeer(bus.server.ready.nats, ana));
  expect(await login(bus.server, ana)).toBe(dropped);
  offMs = 120_000;
  expect(await login(bus.server, ana)).toBe(denied);
  expect(await login(bus.server, bob)).toBe("");
  connections[7]?.[Symbol.dispose]();
  await until("there is room for one", async () => (await login(bus.server, ana)) === "");
  for (const connection of connections) connection[Symbol.dispose]();
}, 60_000);

test("connections that answer no ping, as nats.go leaves behind, block their user for less than 25 s", async () => {
  await using server = await Server.start();
  const { ana } = await castOf(server, "ana");
  const connections = await Promise.all(Array.from({ length: connectionsMax }, () => RawNats.open(server.ready.nats)));
  for (const raw of connections) {
    raw.answersPings = false;
    expect(await raw.login(loginOf(ana, raw))).toBe("");
  }
  expect(await login(server, ana)).toBe(dropped);
  await until("there is room for one", async () => (await login(server, ana)) === "", 25_000);
  for (const connection of connections) connection[Symbol.dispose]();
}, 60_000);

test("while the store is unavailable no login is admitted, and none is denied for good", async () => {
  let isAway = false;
  const away = (users: object): object =>
    new Proxy(users, {
      get(target, name, receiver) {
        if (isAway && name === "getUser") throw new UnibusError("unavailable", "the store is unavailable");
        return Reflect.get(target, name, receiver);
      },
    });
  await using bus = await bootInProcess({ between: { [UserStore.id]: away } });
  const { ana } = await castOf(bus.server, "ana");
  isAway = true;
  expect(await login(bus.server, ana)).toBe(dropped);
  expect(await garbage(bus.server, ana)).toBe(denied);
  isAway = false;
  expect(await login(bus.server, ana)).toBe("");
}, 60_000);

test("40 logins of a user at once give 32 connections and no more, however long each login takes", async () => {
  const all = 40;
  let [begun, refused] = [0, 0];
  // Holds each login that gets here until all the others get here, too, or are refused.
  const slow = (rooms: object): object =>
    new Proxy(rooms, {
      get(target, name, receiver) {
        const value = Reflect.get(target, name, receiver) as unknown;
        if (name !== "accepted" || typeof value !== "function") return value;
        return async (...given: unknown[]) => {
          begun += 1;
          await until("each login is in progress or refused", () => begun + refused >= all, 8_000);
          return value.apply(target, given) as unknown;
        };
      },
    });
  await using bus = await bootInProcess({ between: { [Rooms.id]: slow } });
  const { ana } = await castOf(bus.server, "ana");
  const connections = await Promise.all(Array.from({ length: all }, () => RawNats.open(bus.server.ready.nats)));
  const answers = await Promise.all(
    connections.map(async (raw) => {
      const answer = await raw.login(loginOf(ana, raw));
      if (answer === dropped) refused += 1;
      return answer;
    }),
  );
  expect(countOf(answers, "")).toBe(connectionsMax);
  expect(countOf(answers, dropped)).toBe(all - connectionsMax);
  for (const connection of connections) connection[Symbol.dispose]();
}, 60_000);

test("logins from one address are served at a rate; the rest are delayed or dropped, and never denied", async () => {
  await using server = await Server.start({ args: ["--set", "auth-callout.logins_per_second=5"] });
  const { ana, bob } = await castOf(server, "ana", "bob");
  using before = await rawPeer(server.ready.nats, ana);
  const began = performance.now();
  const answers = await Promise.all(
    Array.from({ length: 60 }, (_, index) => login(server, index % 2 === 0 ? ana : bob)),
  );
  const seconds = (performance.now() - began) / 1000;
  // A burst of ten, then five per second of waiting; the first connections used some of them.
  const isIn = countOf(answers, "");
  expect(isIn).toBeGreaterThanOrEqual(9);
  expect(isIn).toBeLessThanOrEqual(10 + 5 * (seconds + 1));
  expect(countOf(answers, dropped)).toBe(60 - isIn);
  expect(await before.exchange()).toContain("PONG");
  await until("logins are admitted again", async () => (await login(server, bob)) === "");
}, 60_000);

test("a stranger's garbage does not slow down a user at the same address, and has its own rate", async () => {
  const rates = ["auth-callout.logins_per_second=20", "auth-callout.failed_logins_per_second=2"];
  await using server = await Server.start({ args: rates.flatMap((rate) => ["--set", rate]) });
  const { ana } = await castOf(server, "ana");
  const began = performance.now();
  let isOver = false;
  const strangers = Array.from({ length: 20 }, async () => {
    const answers: string[] = [];
    // Uses the user's own key, which is public.
    while (!isOver) answers.push(await garbage(server, ana));
    return answers;
  });
  const mine: string[] = [];
  for (let count = 0; count < 20; count++) mine.push(await login(server, ana));
  expect(mine).toEqual(Array.from({ length: 20 }, () => ""));
  expect((performance.now() - began) / 1000).toBeLessThan(15);
  isOver = true;
  const answers = (await Promise.all(strangers)).flat();
  const seconds = (performance.now() - began) / 1000;
  expect(countOf(answers, denied)).toBeGreaterThanOrEqual(4);
  expect(countOf(answers, denied)).toBeLessThanOrEqual(4 + 2 * (seconds + 2));
  expect(countOf(answers, denied) + countOf(answers, dropped)).toBe(answers.length);
}, 60_000);

test("the whole server has no more connections than nats-embedded.connections_max", async () => {
  const all = 24;
  await using server = await Server.start({ args: ["--set", `nats-embedded.connections_max=${all}`] });
  const { ana } = await castOf(server, "ana");
  // Some of the connections are unibus's own.
  const opened = await Promise.all(Array.from({ length: all }, () => RawNats.open(server.ready.nats)));
  const refused = opened.filter(({ received }) => received.includes("maximum connections exceeded"));
  expect(refused.length).toBeGreaterThan(0);
  expect(refused.length).toBeLessThan(all);
  for (const connection of opened) connection[Symbol.dispose]();
  await until("there is a free place again", async () => (await login(server, ana)) === "");
}, 60_000);
