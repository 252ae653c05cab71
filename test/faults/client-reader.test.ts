/**
 * Readers under faults: a connection that breaks at the worst moments, a history that lags behind, a reader that is too
 * slow. Where messages are persisted, each message arrives once and in order; where they are not, the reader is
 * notified of the gap. bob reads through a proxy that can cut, hold and alter what passes. Source: spec 8, 9.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { type BusEvents, modes } from "../../src/client/index.ts";
import { type Server, until } from "../support/executable.ts";
import { HostileScene } from "../support/hostile-scene.ts";
import { freshSubject } from "../support/peer.ts";

let server: Server;
let admin: Identity;

beforeAll(async () => {
  ({ server, admin } = await HostileScene.server());
});
afterAll(() => server[Symbol.asyncDispose]());

const row = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `m${from + i}`);

async function sendAll(at: HostileScene, texts: readonly string[]): Promise<void> {
  for (const text of texts) await at.mine.send(text);
}

/** While `isLagging` returns true, bob gets the stream as it was five messages after its beginning. */
function lagging(at: HostileScene, isLagging: () => boolean): void {
  at.hostile.http.rewrite(async (answer, asked) => {
    if (!asked.target.includes("/history") || !isLagging()) return answer;
    const limit = Number(/limit=(\d+)/.exec(asked.target)?.[1]);
    const history = await at.ana.control.history(at.mine.id, { limit, before: 6 });
    return { ...answer, body: Buffer.from(JSON.stringify(history)) };
  });
}

describe("where messages are kept", () => {
  test("what was said while the connection was away comes before what came after", async () => {
    await using at = await HostileScene.open(server, { admin });
    await sendAll(at, row(5));
    at.hostile.proxy.isRefusing = true;
    at.hostile.proxy.cutAll();
    await sendAll(at, row(5, 5));
    at.hostile.proxy.isRefusing = false;
    await until("bob is back", () => at.hostile.followed.includes(at.mine.subject));
    await sendAll(at, row(5, 10));
    await until("bob has all", () => at.texts.length >= 15);
    expect(at.texts).toEqual(row(15));
    expect(at.suspicious).toEqual([]);
  });

  test("also when the history does not have it yet, and what comes live is ahead of it", async () => {
    await using at = await HostileScene.open(server, { admin });
    let lag = 0;
    lagging(at, () => lag-- > 0);
    await sendAll(at, row(5));
    await until("bob has these", () => at.texts.length === 5);
    at.hostile.proxy.isRefusing = true;
    at.hostile.proxy.cutAll();
    await sendAll(at, row(5, 5));
    lag = 6;
    at.hostile.proxy.isRefusing = false;
    await until("bob is back", () => at.hostile.followed.includes(at.mine.subject));
    await sendAll(at, row(5, 10));
    await until("bob has all", () => at.texts.length >= 15);
    expect(at.texts).toEqual(row(15));
  });

  test("also when all that comes after does so before the new connection is known to be there", async () => {
    await using at = await HostileScene.open(server, { admin });
    let lag = 0;
    lagging(at, () => lag-- > 0);
    await sendAll(at, row(5));
    await until("bob has these", () => at.texts.length === 5);
    at.hostile.proxy.isRefusing = true;
    at.hostile.proxy.cutAll();
    await sendAll(at, row(5, 5));
    lag = 6;
    at.hostile.silentOn = at.mine.subject;
    let came = 0;
    at.hostile.tamper = (message) => {
      if (message.subject === at.mine.subject) came += 1;
      return [message];
    };
    at.hostile.proxy.isRefusing = false;
    await until("bob follows", () => at.hostile.followed.includes(at.mine.subject));
    await sendAll(at, row(5, 10));
    await until("they came to him", () => came === 5);
    at.hostile.speak();
    await until("bob has all", () => at.texts.length >= 15);
    expect(at.texts).toEqual(row(15));
  });

  test("when the old connection breaks in the moment in which both are there", async () => {
    await using at = await HostileScene.open(server, { admin });
    await sendAll(at, row(3));
    const side = await at.ana.createRoom(`room.side-${process.pid}`, modes.nats);
    // Only an acceptance changes bob's permissions: here one that looks like another device's.
    const accepted = Promise.withResolvers<void>();
    at.bob.on("rooms", ({ roomId, kind }) => roomId === side.id && kind === "accepted" && accepted.resolve());
    await side.membership.add(at.bob.identity.endpoint);
    await at.bob.control.acceptRoom(side.id);
    await accepted.promise;
    expect(at.hostile.proxy.links.size).toBe(2);
    // Messages published while the new connection subscribed are on the old one only, and never arrive.
    const [oldest, newest] = at.hostile.proxy.links;
    for (const link of [oldest, newest]) at.hostile.hold(link, true);
    await sendAll(at, row(3, 3));
    at.hostile.hold(newest, false);
    oldest?.cut();
    await sendAll(at, row(3, 6));
    await until("bob has all", () => at.texts.length >= 9);
    expect(at.texts).toEqual(row(9));
  });

  test("one who reads from now on gets nothing older after a break", async () => {
    await using at = await HostileScene.open(server, { admin });
    const other = await at.ana.createRoom(freshSubject(), "matrix");
    await other.membership.add(at.bob.identity.endpoint);
    for (const text of row(5)) await other.send(text);
    await at.bob.control.acceptRoom(other.id);
    const bobs = await at.bob.room(other.id);
    const got: string[] = [];
    const stop = await bobs.onMessage(({ text }) => got.push(text), { from: "now" });
    at.hostile.proxy.isRefusing = true;
    at.hostile.proxy.cutAll();
    for (const text of row(5, 5)) await other.send(text);
    at.hostile.proxy.isRefusing = false;
    await until("bob has what he missed", () => got.includes("m9"));
    expect(got).toEqual(row(5, 5));
    stop();
  });

  test("from the start, while others speak", async () => {
    await using at = await HostileScene.open(server, { admin });
    await sendAll(at, row(20));
    const cleos = await at.cleo.room(at.mine.id);
    const got: string[] = [];
    const messages = cleos.messages({ from: "start" });
    const sending = sendAll(at, row(40, 20));
    for await (const { text } of messages) if (got.push(text) === 60) break;
    await sending;
    expect(got).toEqual(row(60));
  });

  test("the last and what comes: in order, also when they come at once", async () => {
    await using at = await HostileScene.open(server, { admin });
    await sendAll(at, row(10));
    const cleos = await at.cleo.room(at.mine.id);
    for (let round = 0; round < 5; round++) {
      const got: number[] = [];
      const next = Number((await cleos.history({ limit: 1 })).messages[0]?.text.slice(1)) + 1;
      const messages = cleos.messages({ from: "last" });
      const sending = sendAll(at, row(10, next));
      for await (const { text } of messages) {
        got.push(Number(text.slice(1)));
        if (got.at(-1) === next + 9) break;
      }
      await sending;
      const [first = 0] = got;
      expect(got).toEqual(Array.from({ length: next + 10 - first }, (_, i) => first + i));
    }
  });

  test("a reader who is too slow reads the rest from the history, and does not hold the others up", async () => {
    await using at = await HostileScene.open(server, { admin });
    const slow = at.theirs.messages({ queueMax: 10 });
    await slow.ready;
    await sendAll(at, row(30));
    await until("the other reader has all", () => at.texts.length === 30);
    const got: string[] = [];
    for await (const { text } of slow) if (got.push(text) === 30) break;
    expect(got).toEqual(row(30));
  });

  test("one who is behind again and again has each message once, in order", async () => {
    await using at = await HostileScene.open(server, { admin });
    const slow = at.theirs.messages({ queueMax: 5 });
    await slow.ready;
    const got: string[] = [];
    for (let round = 0; round < 6; round++) {
      await sendAll(at, row(12, round * 12));
      await until("the other reader has all", () => at.texts.length === (round + 1) * 12);
      // It reads some of them, and falls behind again.
      for (let i = 0; i < 7; i++) got.push((await slow.next()).value?.text ?? "");
    }
    for await (const { text } of slow) if (got.push(text) === 72) break;
    expect(got).toEqual(row(72));
  });

  test("one that answers requests loses the oldest of the sender who has the most waiting, and nobody else's", async () => {
    await using at = await HostileScene.open(server, { admin });
    const slow = at.theirs.messages({ queueMax: 10, whenBehind: "drop" });
    await slow.ready;
    const cleos = await at.cleo.room(at.mine.id);
    await at.mine.send("first");
    for (const text of row(30)) await cleos.send(text);
    await at.mine.send("last");
    await until("the other reader has all", () => at.texts.length === 32);
    const got: string[] = [];
    for await (const { text } of slow) if (got.push(text) && text === "last") break;
    expect(got.length).toBeLessThanOrEqual(10);
    expect([got[0], got.at(-2)]).toEqual(["first", "m29"]);
  });

  test("from the start, one who is too slow reads it all the same: it is in the history", async () => {
    await using at = await HostileScene.open(server, { admin });
    await sendAll(at, row(30));
    const slow = at.theirs.messages({ from: "start", queueMax: 10 });
    const got: string[] = [];
    const first = await slow.next();
    got.push(first.value?.text ?? "");
    await sendAll(at, row(50, 30));
    for await (const { text } of slow) if (got.push(text) === 80) break;
    expect(got).toEqual(row(80));
  });

  test("a place that is kept for a device goes on where it was, over a break in the middle of the work", async () => {
    await using at = await HostileScene.open(server, { admin });
    const got: string[] = [];
    await using _durable = await at.theirs.durable(async ({ text }) => {
      got.push(text);
      if (got.length === 3) at.hostile.proxy.cutAll();
    });
    await sendAll(at, row(40));
    await until("all were worked on", () => new Set(got).size === 40, 60_000);
    const firstTimes = [...new Set(got)];
    expect(firstTimes.toSorted()).toEqual(row(40).toSorted());
  }, 90_000);
});

describe("where nothing is kept", () => {
  test("a break is told as a loss, once, and what comes after it comes", async () => {
    await using at = await HostileScene.open(server, { admin, mode: "nats" });
    const lost: BusEvents["lost"][] = [];
    at.bob.on("lost", (what) => lost.push(what));
    at.hostile.proxy.isRefusing = true;
    at.hostile.proxy.cutAll();
    await at.mine.send("unheard");
    at.hostile.proxy.isRefusing = false;
    await until("bob is back", () => at.hostile.followed.includes(at.mine.subject));
    await until("it is told", () => lost.length > 0);
    await at.mine.send("heard");
    await until("bob has it", () => at.texts.includes("heard"));
    expect(at.texts).toEqual(["heard"]);
    expect(lost).toEqual([{ roomId: at.mine.id, why: "gap" }]);
  });
});

test("a history that does not answer for a while is asked again: who reads it is told of trouble, no more", async () => {
  await using at = await HostileScene.open(server, { admin });
  await sendAll(at, row(5));
  for (const from of ["start", "last"] as const) {
    // More refusals than one request retries.
    let refusals = 6;
    at.hostile.http.rewrite((answer, asked) => {
      // The reader itself sends the first read: a reader that starts during an outage gets the error at once.
      if (!asked.target.includes("/history") || asked.target.endsWith("limit=1") || refusals-- <= 0) return answer;
      return { ...answer, status: 503, body: Buffer.from('{"error":"away","code":"unavailable"}') };
    });
    const messages = at.theirs.messages({ from });
    const first = await messages.next();
    expect(first.value?.text).toBe(from === "start" ? "m0" : "m4");
    expect(refusals).toBeLessThanOrEqual(0);
    await messages.return?.();
  }
  // One event per outage, however many requests failed.
  expect(at.trouble).toEqual([expect.objectContaining({ code: "unavailable", message: "away" }), expect.anything()]);
});
