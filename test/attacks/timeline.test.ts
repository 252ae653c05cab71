/**
 * Timelines of real clients: what another member, or a bus that repeats and mixes up messages, can change in them.
 * Source: docs/protocol/timeline.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Bus } from "../../src/client/bus.ts";
import type { Identity } from "../../src/client/crypto/identity.ts";
import type { LiveTimeline } from "../../src/client/rooms/live-timeline.ts";
import type { Room } from "../../src/client/rooms/room.ts";
import { partsOf } from "../../src/client/rooms/room-parts.ts";
import { type SayOptions, sayingOf } from "../../src/client/rooms/saying.ts";
import { MemoryState } from "../../src/client/trust/state.ts";
import { halfHash, noHash } from "../../src/wire/chain-entry.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import { until } from "../support/executable.ts";
import { bootInProcess, type InProcess, insertUser } from "../support/in-process.ts";
import { dial, freshSubject } from "../support/peer.ts";

let running: InProcess;
let ana: Bus;
let bob: Bus;
let anasKeys: Identity;
let bobsKeys: Identity;
const timelines: LiveTimeline[] = [];

const connected = (identity: Identity, state = new MemoryState()): Promise<Bus> =>
  Bus.connect({ urls: [running.server.ready.http], identity, state });

beforeAll(async () => {
  running = await bootInProcess();
  bobsKeys = await insertUser(running, "bob");
  anasKeys = await insertUser(running, "ana");
  ana = await connected(anasKeys);
  bob = await connected(bobsKeys);
});
afterAll(async () => {
  for (const timeline of timelines) timeline.close();
  await Promise.all([ana.close(), bob.close()]);
  await running[Symbol.asyncDispose]();
});

/** A room of ana, with bob as a member. */
async function roomOfTwo(): Promise<readonly [Room, Room]> {
  const own = await ana.createRoom(freshSubject(), { encrypt: true, persist: true, sign_msgs: true });
  await own.membership.add(bob.identity.endpoint);
  return [own, await bob.room(own.id)];
}

async function timelineOf(room: Room, limit?: number): Promise<LiveTimeline> {
  const timeline = room.timeline(limit === undefined ? {} : { limit });
  timelines.push(timeline);
  await timeline.ready;
  return timeline;
}

/** Sends something that the SDK refuses to send. */
function say(room: Room, data: string | Uint8Array, options: SayOptions): Promise<unknown> {
  const { sender } = partsOf(room);
  return sender.say(sayingOf(sender.clock, data, options), options);
}

const texts = (timeline: LiveTimeline): string[] => timeline.items().map(({ text }) => text);
const shows = (timeline: LiveTimeline, wanted: readonly string[]): Promise<unknown> =>
  until(`the timeline shows ${wanted}`, () => texts(timeline).join("|") === wanted.join("|"));

test("an edit or deletion by another member changes nothing, neither live nor in the history", async () => {
  const [own, theirs] = await roomOfTwo();
  const live = await timelineOf(own);
  const { id } = await own.send("pay 10");
  await say(theirs, "pay 1000", { kind: "edit", replyTo: id });
  await say(theirs, "", { kind: "delete", replyTo: id });
  await theirs.send("end");
  await shows(live, ["pay 10", "end"]);
  expect(live.items()[0]?.deletion).toBeNull();
  const later = await timelineOf(theirs);
  expect(texts(later)).toEqual(["pay 10", "end"]);
  // An owner may remove any message: the same deletion counts once bob is one.
  await own.membership.setRole(bob.identity.endpoint, "owner");
  await until("bob's deletion counts", () => live.items()[0]?.deletion?.by === bob.identity.endpoint);
});

test("a frame that is sent again, or in another room, changes nothing", async () => {
  const [own, theirs] = await roomOfTwo();
  const [other] = await roomOfTwo();
  const raw: Uint8Array[] = [];
  const stop = theirs.onRaw((bytes) => raw.push(bytes));
  const [live, otherLive] = [await timelineOf(own), await timelineOf(other)];
  await timelineOf(theirs);
  const first = await own.send("one");
  await own.edit({ id: first.id, thread: null, from: ana.identity.endpoint }, "two");
  await own.edit({ id: first.id, thread: null, from: ana.identity.endpoint }, "three");
  await shows(live, ["three"]);
  await until("bob has all three frames", () => raw.length === 3);
  stop();
  const connection = await dial(running.server, bobsKeys);
  for (const bytes of raw) {
    connection.publish(own.subject, bytes);
    connection.publish(other.subject, bytes);
  }
  await connection.flush();
  await connection.close();
  await other.send("only");
  await own.send("end");
  await Promise.all([shows(live, ["three", "end"]), shows(otherLive, ["only"])]);
  expect(texts(await timelineOf(own))).toEqual(["three", "end"]);
});

test("a bus that delivers edits in another order changes no text, neither live nor in the history", async () => {
  const [own, theirs] = await roomOfTwo();
  const live = await timelineOf(theirs);
  const { id } = await own.send("first");
  const { sender } = partsOf(own);
  const sealed = async (text: string, n: number, sentMs: number) => {
    const saying = sayingOf(sender.clock, text, { kind: "edit", replyTo: id });
    const chain = { id: "0123456789abcdef", n, hash: noHash };
    return sender.sealed({ ...saying, id: newUlid(sentMs), header: { ...saying.header, chain } }, undefined);
  };
  // The later edit has the lower id, too: a clock that went back must not matter.
  const third = await sealed("third", 3, Date.now() - 5_000);
  const second = await sealed("second", 2, Date.now());
  const connection = await dial(running.server, anasKeys);
  for (const { bytes } of [third, second]) connection.publish(own.subject, bytes);
  await connection.flush();
  await connection.close();
  await own.send("end");
  await shows(live, ["third", "end"]);
  await until("both edits are stored", async () => (await own.history()).messages.length === 4);
  expect(texts(await timelineOf(own))).toEqual(["third", "end"]);
});

test("the timeline reports each change of one item, and reads older pages on demand", async () => {
  const [own] = await roomOfTwo();
  for (let n = 0; n < 7; n++) await own.send(`${n}`);
  const live = await timelineOf(own, 3);
  expect([texts(live), live.hasOlder]).toEqual([["4", "5", "6"], true]);
  const changes: string[] = [];
  live.on("change", (change) => changes.push("item" in change ? `${change.what} ${change.item.text}` : change.what));
  const [item] = live.items();
  if (item === undefined) throw new Error("no item");
  await own.react(item, "👍");
  await own.edit(item, "four");
  await own.setTitle("Numbers");
  await until("all changes", () => changes.length === 3);
  expect(changes).toEqual(["changed 4", "changed four", "title"]);
  expect(live.item(item.id)?.reactions).toEqual([{ emoji: "👍", from: [ana.identity.endpoint] }]);
  expect(await live.older()).toBe(3);
  expect(await live.older()).toBe(1);
  expect([texts(live), live.hasOlder, live.title?.text]).toEqual([
    ["0", "1", "2", "3", "four", "5", "6"],
    false,
    "Numbers",
  ]);
});

test("a message that its sender deletes shows nothing any more; delete takes the message itself", async () => {
  const [own, theirs] = await roomOfTwo();
  const live = await timelineOf(theirs);
  const { id } = await own.send("a secret");
  await shows(live, ["a secret"]);
  const mine = await timelineOf(own);
  const [item] = mine.items();
  if (item === undefined || item.message === null) throw new Error("no item");
  await own.edit(item, "another secret");
  await expect(own.delete(item as never)).rejects.toThrow("of an item of a timeline item.message");
  expect((await own.delete(item.message)).erased).toBe(true);
  await until("the deletion is shown", () => live.item(id)?.deletion?.by === ana.identity.endpoint);
  expect([live.item(id)?.text, live.item(id)?.message, live.item(id)?.edit]).toEqual(["", null, null]);
});

test("a title from before this client's first look at the room counts by the version of its statement", async () => {
  const [own] = await roomOfTwo();
  const hash = async (version: number) => (await ana.control.statements(own.id, version)).statements[0]?.text ?? "";
  const named = async (title: string, version: number) => {
    const { sender } = partsOf(own);
    const saying = sayingOf(sender.clock, title, { kind: "title" });
    const statement = { version, hash: halfHash(await hash(version)) };
    await sender.say({ ...saying, header: { ...saying.header, statement } }, {});
  };
  await named("second", 2);
  await named("first", 1);
  await own.membership.rekey();
  const state = new MemoryState();
  const other = await connected(bobsKeys, state);
  await (await other.room(own.id)).refresh();
  await other.close();
  expect((await state.room(own.id))?.version).toBe(3);
  // This client begins at the version that it pinned, and has to read the statements before it.
  await using again = await connected(bobsKeys, state);
  const timeline = await timelineOf(await again.room(own.id));
  await until("the title of the higher version", () => timeline.title?.text === "second");
});
