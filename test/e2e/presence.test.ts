/**
 * Signals between real clients: typing, presence and read marks reach the other members and no history, and stay off
 * where the server grants none. Source: docs/protocol/signals.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Bus } from "../../src/client/bus.ts";
import type { ConnectOptions } from "../../src/client/connect-options.ts";
import type { Room } from "../../src/client/rooms/room.ts";
import { MemoryState } from "../../src/client/trust/state.ts";
import { until } from "../support/executable.ts";
import { bootInProcess, type InProcess, insertUser } from "../support/in-process.ts";
import { freshSubject } from "../support/peer.ts";

let running: InProcess;
const open: Bus[] = [];

async function newcomer(handle: string, options: Partial<ConnectOptions> = {}): Promise<Bus> {
  const identity = await insertUser(running, handle);
  const bus = await Bus.connect({ urls: [running.server.ready.http], identity, state: new MemoryState(), ...options });
  open.push(bus);
  return bus;
}

beforeAll(async () => {
  running = await bootInProcess({ settings: { rooms: { signal_members_max: 3 } } });
});
afterAll(async () => {
  await Promise.all(open.map((bus) => bus.close()));
  await running[Symbol.asyncDispose]();
});

/** A room of several clients: the first one owns it, and all read it. */
async function roomOf(owner: Bus, ...members: readonly Bus[]): Promise<readonly [Room, ...Room[]]> {
  const own = await owner.createRoom(freshSubject(), { encrypt: true, persist: true, sign_msgs: true });
  if (members.length > 0) await own.membership.add(members.map(({ identity }) => identity.endpoint));
  const rooms = await Promise.all(members.map((bus) => bus.room(own.id)));
  for (const room of [own, ...rooms]) await room.onMessage(() => undefined);
  return [own, ...rooms];
}

test("typing, presence and read marks reach the other member, and a message ends the typing", async () => {
  const [ana, bob] = [await newcomer("ana"), await newcomer("bob")];
  const [own, theirs] = (await roomOf(ana, bob)) as [Room, Room];
  const of = () => own.presence.of(bob.identity.endpoint);
  const stop = own.presence.on("change", () => undefined);
  const close = theirs.presence.open();
  await until("bob is seen", () => of().state === "present");
  theirs.typing();
  await until("bob is seen typing", () => of().isTyping);
  const { id } = await theirs.send("hello");
  await until("bob has stopped typing", () => !of().isTyping);
  theirs.presence.read({ id });
  await until("bob has read it", () => of().readUpTo === id);
  close();
  await until("bob is gone", () => of().state === null);
  expect(theirs.presence.members).toEqual([]);
  stop();
  const { messages } = await own.history();
  expect(messages.map(({ text }) => text)).toEqual(["hello"]);
});

test("who opens a room learns who is here, also on a second device", async () => {
  const [ana, bob] = [await newcomer("gil"), await newcomer("hal")];
  const [own, theirs] = (await roomOf(ana, bob)) as [Room, Room];
  const urls = [running.server.ready.http];
  const other = await Bus.connect({ urls, identity: ana.identity, state: new MemoryState() });
  open.push(other);
  const second = await other.room(own.id);
  const sees = (room: Room, { identity }: Bus) => room.presence.of(identity.endpoint).state === "present";
  own.presence.open();
  theirs.presence.open();
  await until("both see each other", () => sees(own, bob) && sees(theirs, ana));
  second.presence.open();
  await until("the second device sees bob", () => sees(second, bob));
}, 60_000);

test("a room with more members than the setting allows has none, and its messages go on", async () => {
  const all = await Promise.all(["cleo", "dan", "eve", "fay"].map((name) => newcomer(name)));
  const [first, ...rest] = all as [Bus, ...Bus[]];
  const [own, theirs] = (await roomOf(first, ...rest)) as [Room, Room];
  own.presence.on("change", () => undefined);
  theirs.presence.open();
  const texts: string[] = [];
  await own.onMessage(({ text }) => texts.push(text));
  theirs.typing();
  await theirs.send("all the same");
  await until("the message arrives", () => texts.includes("all the same"));
  expect(own.presence.members).toEqual([]);
});
