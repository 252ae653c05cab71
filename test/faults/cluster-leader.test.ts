/**
 * One of three nodes is killed, often the leader: nothing acknowledged is lost, the outage is bounded, invites that
 * many clients redeem meanwhile succeed once, and a new persisted room is created within the request even while its
 * stream still elects a leader. Source: docs/protocol/identity.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { buckets } from "../../src/wire/names.ts";
import { invite, register } from "../support/accounts.ts";
import { until } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import {
  addMembers,
  at,
  call,
  createBody,
  createRoom,
  dial,
  freshSubject,
  history,
  newRoom,
  policy,
  send,
} from "../support/peer.ts";
import { framesAt } from "./chaos/frames.ts";
import { Nodes, nodesCount } from "./chaos/nodes.ts";
import { published, Scene } from "./chaos/scene.ts";

/**
 * How long a stream may be without a leader, in milliseconds: nats-server's followers wait 4 to 9 s before they start
 * an election, and a split vote starts over.
 */
const outageMsMax = 25_000;

/** The target is 300; fewer by default, for busy machines. */
const invites = Number(process.env.UNIBUS_INVITES ?? 30);
const redeemers = 32;
const crowds = 3;
const invitesTimeoutMs = 60_000 + invites * 1_000;

/** How many rooms are created while a node is down: without the retry, 3 to 5 of 20 are refused. */
const roomsCount = 20;
/** How long one creation may take, in milliseconds: 12 s of retries, plus slack for a busy machine. */
const answerMsMax = 20_000;

let nodes: Nodes;
let people: Cast<"ana" | "bob">;

beforeAll(async () => {
  nodes = await Nodes.start();
  people = await castOf(nodes.at(0), "ana", "bob");
}, 60_000);
afterAll(() => nodes[Symbol.asyncDispose]());

/** Repeats an operation. Returns the longest time for which it failed, in milliseconds. */
function watch(work: () => Promise<boolean>): () => Promise<number> {
  let [isOver, last, longest] = [false, performance.now(), 0];
  const watching = (async () => {
    while (!isOver) {
      if (await work().catch(() => false)) {
        longest = Math.max(longest, performance.now() - last);
        last = performance.now();
      }
      await Bun.sleep(20);
    }
  })();
  return async () => {
    isOver = true;
    await watching;
    return Math.max(longest, performance.now() - last);
  };
}

test("leaders are killed one after the other: service continues, and nothing acknowledged is lost", async () => {
  const { admin, ana, bob } = people;
  const room = await addMembers(nodes.at(0), await createRoom(nodes.at(0), ana, policy("persist")), bob);
  const acked: string[] = [];
  const lines: string[] = [];
  for (const bucket of [buckets.users, buckets.rooms, null]) {
    const leader = await nodes.leaderOf(bucket ?? room);
    const others = [0, 1, 2].filter((node) => node !== leader);
    const scene = new Scene(nodes, admin);
    const connections = new Map<number, NatsConnection>();
    for (const node of others) connections.set(node, await dial(nodes.at(node), ana));
    const publishAt = (node: number) => async () => {
      const text = `${acked.length}-${Math.random()}`;
      const connection = connections.get(node);
      const isAcked =
        connection !== undefined && (await published(connection, room.state.subject, text, 1_000)) !== null;
      if (isAcked) acked.push(text);
      return isAcked;
    };
    const readAt = (node: number) => async () => (await scene.ask(node, bob, "GET", at(room)))?.status === 200;
    const watches = others.flatMap((node) => [watch(publishAt(node)), watch(readAt(node))]);
    const before = acked.length;
    await until("frames are stored", () => acked.length > before + 20);
    await nodes.kill(leader);
    await until("all requests succeed again", async () =>
      (await Promise.all(others.map((node) => readAt(node)()))).every(Boolean),
    );
    const during = acked.length;
    await until("frames are stored again", () => acked.length > during + 20);
    const outages = await Promise.all(watches.map((stop) => stop()));
    const [writes, reads] = [0, 1].map((kind) => Math.max(...outages.filter((_, index) => index % 2 === kind)));
    lines.push(
      `${bucket ?? "the room's stream"}: no frame for ${writes?.toFixed(0)} ms, no read for ${reads?.toFixed(0)} ms`,
    );
    expect(Math.max(...outages)).toBeLessThan(outageMsMax);
    for (const connection of connections.values()) await connection.close();
    await nodes.boot(leader);
    await nodes.untilReady();
  }
  console.log(["the leader is killed", ...lines].join("\n  "));
  for (const node of [0, 1, 2]) {
    const read = new Set(await framesAt(new Scene(nodes, admin), node, room));
    expect(acked.filter((text) => !read.has(text))).toEqual([]);
  }
}, 180_000);

test(
  `${invites} invites, each redeemed by ${redeemers} at once while leaders are killed: each succeeds once`,
  async () => {
    const { admin } = people;
    const waiting: [string, string][] = [];
    for (let made = 0; made < invites; made++) {
      const handle = `h${made}`;
      waiting.push([handle, (await invite(nodes.at(made % nodesCount), admin, { handle })).token]);
    }
    const statuses = new Map<number, number>();
    const winners = new Map<string, string[]>();
    let redeemed = 0;
    /** A client with no answer, or an inconclusive one, retries at the next node. */
    const redeem = async (token: string, user: Identity, first: number): Promise<boolean> => {
      for (let node = first; ; node = (node + 1) % nodesCount) {
        const status = (await register(nodes.url(node), token, user).catch(() => null))?.status ?? 0;
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        if (status === 201 || status === 409) return status === 201;
        expect([0, 503]).toContain(status);
        await Bun.sleep(20);
      }
    };
    const killed = Promise.withResolvers<void>();
    const crowd = async (): Promise<void> => {
      const people = await Promise.all(Array.from({ length: redeemers }, () => generateIdentity()));
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        const [handle, token] = next;
        const won = await Promise.all(people.map((user, index) => redeem(token, user, index % nodesCount)));
        const names = people.flatMap((user, index) => (won[index] ? [user.signPubHex] : []));
        winners.set(handle, names);
        for (const [index, isIn] of won.entries()) if (isIn) people[index] = await generateIdentity();
        if (++redeemed === Math.floor(invites / 2)) killed.resolve();
      }
    };
    const killing = (async () => {
      await killed.promise;
      const leader = await nodes.leaderOf(buckets.invites);
      await nodes.kill(leader);
      await nodes.boot(leader);
    })();
    await Promise.all([killing, ...Array.from({ length: crowds }, crowd)]);
    await nodes.untilReady();
    console.log(`invites: ${JSON.stringify(Object.fromEntries(statuses))}`);
    for (const url of nodes.urls) {
      const { json } = await call(url, admin, "GET", "/users");
      const users = Map.groupBy(json.users as { handle: string; sign_pub: string }[], ({ handle }) => handle);
      expect(winners.size).toBe(invites);
      for (const [handle, won] of winners) {
        expect([handle, won.length]).toEqual([handle, 1]);
        expect([handle, users.get(handle)?.map(({ sign_pub }) => sign_pub)]).toEqual([handle, won]);
      }
      expect([...users.keys()].filter((handle) => /^h\d+$/.test(handle))).toHaveLength(invites);
      const pending = (await call(url, admin, "GET", "/invites")).json.invites as { handle: string }[];
      // Each node that started without an admin created a link for the first admin.
      expect(pending.filter(({ handle }) => handle !== "admin")).toEqual([]);
    }
  },
  invitesTimeoutMs,
);

test("20 new persisted rooms while one of three nodes is down: none is refused, and each stores messages", async () => {
  const { ana } = people;
  await nodes.kill(2);
  // The control plane has leaders again; the leader of a new stream is still elected among all three nodes.
  for (const node of [0, 1]) {
    const works = async () => {
      const { json } = await send(`${nodes.url(node)}/readyz`);
      if (!JSON.stringify(json).includes("2 of 3 nodes")) return false;
      const room = createBody(newRoom(ana, freshSubject(), policy("encrypt")));
      return (await call(nodes.url(node), ana, "POST", "/rooms", room)).status === 201;
    };
    await until(`node ${node} has noticed, and makes rooms without streams`, works, 60_000);
  }
  await nodes.untilReady();
  const rooms = Array.from({ length: roomsCount }, () => newRoom(ana, freshSubject(), policy("persist")));
  const made = await Promise.all(
    rooms.map(async (room, index) => {
      const began = performance.now();
      const { status, text } = await call(nodes.url(index % 2), ana, "POST", "/rooms", createBody(room));
      return { status, text, ms: performance.now() - began };
    }),
  );
  console.log(made.map(({ status, ms }) => `${status} after ${ms.toFixed(0)} ms`).join(", "));
  expect(made.filter(({ status }) => status !== 201)).toEqual([]);
  expect(Math.max(...made.map(({ ms }) => ms))).toBeLessThan(answerMsMax);
  const peer = await dial(nodes.at(0), ana);
  for (const [index, room] of rooms.entries()) {
    const ack = (await peer.request(room.state.subject, `m${index}`, { timeout: 10_000 })).json<{ stream?: string }>();
    expect(ack.stream).toBe(`UNIBUS_${room.state.roomId}`);
  }
  for (const [index, room] of rooms.entries()) {
    expect((await history(nodes.at(1), ana, room)).map(String)).toEqual([`m${index}`]);
  }
  await peer.close();
  await nodes.boot(2);
  await nodes.untilReady();
}, 180_000);
