/**
 * Readers under faults: a connection that breaks at the worst moments, a history that lags behind, a reader that is too
 * slow. Where messages are persisted, each message arrives once and in order; where they are not, the reader is
 * notified of the gap. bob reads through a proxy that can cut, hold and alter what passes.
 * Source: docs/protocol/history.md, docs/protocol/logins.md.
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

/** While `isLagging` returns true, bob gets the stream as it was five messages after its beginning, after a delay. */
function lagging(at: HostileScene, isLagging: () => boolean, delayMs = 0): void {
  at.hostile.http.rewrite(async (answer, asked) => {
    if (!asked.target.includes("/history") || !isLagging()) return answer;
    await Bun.sleep(delayMs);
    const limit = Number(/limit=(\d+)/.exec(asked.target)?.[1]);
    const history = await at.ana.control.history(at.mine.id, { limit, before: 6 });
    return { ...answer, body: Buffer.from(JSON.stringify(history)) };
  });
}

describe("in a persistent room", () => {
  test("messages sent during a disconnect are delivered before later ones", async () => {
    await using at = await HostileScene.open(server, { admin });
    await sendAll(at, row(5));
    at.hostile.proxy.isRefusing = true;
    at.hostile.proxy.cutAll();
    await sendAll(at, row(5, 5));
    at.hostile.proxy.isRefusing = false;
    await until("bob follows the room again", () => at.hostile.followed.includes(at.mine.subject));
    await sendAll(at, row(5, 10));
    await until("bob has received all", () => at.texts.length >= 15);
    expect(at.texts).toEqual(row(15));
    expect(at.suspicious).toEqual([]);
  });

  test("also when the history lags behind the live messages", async () => {
    await using at = await HostileScene.open(server, { admin });
    let lag = 0;
    lagging(at, () => lag-- > 0);
    await sendAll(at, row(5));
    await until("bob has received these", () => at.texts.length === 5);
    at.hostile.proxy.isRefusing = true;
    at.hostile.proxy.cutAll();
    await sendAll(at, row(5, 5));
    lag = 6;
    at.hostile.proxy.isRefusing = false;
    await until("bob follows the room again", () => at.hostile.followed.includes(at.mine.subject));
    await sendAll(at, row(5, 10));
    await until("bob has received all", () => at.texts.length >= 15);
    expect(at.texts).toEqual(row(15));
  });

  test("also when all later messages arrive before the new connection is known", async () => {
    await using at = await HostileScene.open(server, { admin });
    let lag = 0;
    lagging(at, () => lag-- > 0);
    await sendAll(at, row(5));
    await until("bob has received these", () => at.texts.length === 5);
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
    await until("bob follows the room", () => at.hostile.followed.includes(at.mine.subject));
    await sendAll(at, row(5, 10));
    await until("the messages reached his connection", () => came === 5);
    at.hostile.speak();
    await until("bob has received all", () => at.texts.length >= 15);
    expect(at.texts).toEqual(row(15));
  });

  test("also when each read of a history that lags takes half a second", async () => {
    await using at = await HostileScene.open(server, { admin });
    let lag = 0;
    lagging(at, () => lag-- > 0, 500);
    await sendAll(at, row(5));
    await until("bob has received these", () => at.texts.length === 5);
    at.hostile.proxy.isRefusing = true;
    at.hostile.proxy.cutAll();
    await sendAll(at, row(5, 5));
    lag = 7;
    at.hostile.proxy.isRefusing = false;
    await until("bob follows the room", () => at.hostile.followed.includes(at.mine.subject));
    await sendAll(at, row(5, 10));
    await until("bob has received all", () => at.texts.length >= 15);
    expect(at.texts).toEqual(row(15));
  });

  test("also when the old connection breaks at the moment in which both exist", async () => {
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
    await until("bob has received all", () => at.texts.length >= 9);
    expect(at.texts).toEqual(row(9));
  });

  test("a reader from now on receives nothing older after a disconnect", async () => {
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
    await until("bob has received what he missed", () => got.includes("m9"));
    expect(got).toEqual(row(5, 5));
    stop();
  });

  test("a reader from the start receives all, while others send", async () => {
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

  test("a reader from the start receives each once that arrives before its subscription knows where it begins", async () => {
    await using at = await HostileScene.open(server, { admin });
    const other = await at.ana.createRoom(freshSubject(), "matrix");
    await other.membership.add(at.bob.identity.endpoint);
    for (const text of row(5)) await other.send(text);
    await at.bob.control.acceptRoom(other.id);
    const bobs = await at.bob.room(other.id);
    let isFirst = true;
    at.hostile.http.rewrite(async (answer, asked) => {
      if (!isFirst || !asked.target.includes(`${other.id}/history`) || !/limit=1$/.test(asked.target)) return answer;
      isFirst = false;
      for (const text of row(5, 5)) await other.send(text);
      const history = await at.ana.control.history(other.id, { limit: 1 });
      return { ...answer, body: Buffer.from(JSON.stringify(history)) };
    });
    const got: string[] = [];
    const stop = await bobs.onMessage(({ text }) => got.push(text), { from: "start" });
    await until("the history was read", () => got.includes("m9"));
    await other.send("m10");
    await until("bob has received all", () => got.includes("m10"));
    expect([got, isFirst]).toEqual([row(11), false]);
    stop();
  });

  test("a reader from the last message receives it and later ones in order, even if they arrive at once", async () => {
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

  test("a slow reader reads the rest from the history, and does not block others", async () => {
    await using at = await HostileScene.open(server, { admin });
    const slow = at.theirs.messages({ queueMax: 10 });
    await slow.ready;
    await sendAll(at, row(30));
    await until("the other reader has received all", () => at.texts.length === 30);
    const got: string[] = [];
    for await (const { text } of slow) if (got.push(text) === 30) break;
    expect(got).toEqual(row(30));
  });

  test("a slow reader from now on gets nothing older", async () => {
    await using at = await HostileScene.open(server, { admin });
    await sendAll(at, row(20));
    await until("the other reader has these", () => at.texts.length === 20);
    const slow = at.theirs.messages({ queueMax: 5 });
    await slow.ready;
    await sendAll(at, row(10, 20));
    await until("the other reader has all", () => at.texts.length === 30);
    const got: string[] = [];
    for await (const { text } of slow) if (got.push(text) === 10) break;
    expect(got).toEqual(row(10, 20));
  });

  test("a reader who is repeatedly behind receives each message once, in order", async () => {
    await using at = await HostileScene.open(server, { admin });
    const slow = at.theirs.messages({ queueMax: 5 });
    await slow.ready;
    const got: string[] = [];
    for (let round = 0; round < 6; round++) {
      await sendAll(at, row(12, round * 12));
      await until("the other reader has received all", () => at.texts.length === (round + 1) * 12);
      // It reads some of them, and falls behind again.
      for (let i = 0; i < 7; i++) got.push((await slow.next()).value?.text ?? "");
    }
    for await (const { text } of slow) if (got.push(text) === 72) break;
    expect(got).toEqual(row(72));
  });

  test("a reader that drops messages loses the oldest of the busiest sender, and none of other senders", async () => {
    await using at = await HostileScene.open(server, { admin });
    const slow = at.theirs.messages({ queueMax: 10, whenBehind: "drop" });
    await slow.ready;
    const cleos = await at.cleo.room(at.mine.id);
    await at.mine.send("first");
    for (const text of row(30)) await cleos.send(text);
    await at.mine.send("last");
    await until("the other reader has received all", () => at.texts.length === 32);
    const got: string[] = [];
    for await (const { text } of slow) if (got.push(text) && text === "last") break;
    expect(got.length).toBeLessThanOrEqual(10);
    expect([got[0], got.at(-2)]).toEqual(["first", "m29"]);
  });

  test("a slow reader from the start receives all from the history", async () => {
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

  test("a durable continues where it was after a disconnect during the work", async () => {
    await using at = await HostileScene.open(server, { admin });
    const got: string[] = [];
    await using _durable = await at.theirs.durable(async ({ text }) => {
      got.push(text);
      if (got.length === 3) at.hostile.proxy.cutAll();
    });
    await sendAll(at, row(40));
    await until("all messages are handled", () => new Set(got).size === 40, 60_000);
    const firstTimes = [...new Set(got)];
    expect(firstTimes.toSorted()).toEqual(row(40).toSorted());
  }, 90_000);
});

describe("in a room without persistence", () => {
  test("a disconnect is reported as a loss, once, and later messages are delivered", async () => {
    await using at = await HostileScene.open(server, { admin, mode: "nats" });
    const lost: BusEvents["lost"][] = [];
    at.bob.on("lost", (what) => lost.push(what));
    at.hostile.proxy.isRefusing = true;
    at.hostile.proxy.cutAll();
    await at.mine.send("unheard");
    at.hostile.proxy.isRefusing = false;
    await until("bob follows the room again", () => at.hostile.followed.includes(at.mine.subject));
    await until("the loss is reported", () => lost.length > 0);
    await at.mine.send("heard");
    await until("bob has received it", () => at.texts.includes("heard"));
    expect(at.texts).toEqual(["heard"]);
    expect(lost).toEqual([{ roomId: at.mine.id, why: "gap" }]);
  });
});

test("a history request that fails for a while is retried: its reader gets a trouble event and all messages", async () => {
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
