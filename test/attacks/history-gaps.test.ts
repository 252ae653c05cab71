/**
 * A server that leaves messages out, live and in the history, changes their order, or shows members different ones: the
 * client names the sender and the place, also in the command line.
 * Source: docs/protocol/history.md.
 */
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { Bus, MemoryState, type Message, type Room, type RoomIntegrity, type Sent } from "../../src/client/index.ts";
import { checkHistory } from "../../src/client/rooms/history-check.ts";
import { partsOf } from "../../src/client/rooms/room-parts.ts";
import { CliPeer } from "../support/cli-peer.ts";
import { Server, until } from "../support/executable.ts";
import { HostileServer } from "../support/hostile-server.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { dropMessages } from "../support/message-filter.ts";
import { freshSubject } from "../support/peer.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";

interface Page {
  readonly messages: string[];
  readonly seqs: number[];
}

let server: Server;
let people: Cast<"ana" | "bob" | "carol">;
let way: HostileServer;
let ana: Bus;
let bob: Bus;
let carol: Bus;
let mine: Room;
let theirs: Room;
let nats: TcpProxy;
/** Which live messages bob does not get. */
let isDropped: (payload: string) => boolean = () => false;
let droppedCount = 0;

beforeAll(async () => {
  server = await Server.start({ proxied: true, args: ["--set", "http.rate=100000"] });
  people = await castOf(server, "ana", "bob", "carol");
  way = await HostileServer.start(server.ready.http);
  nats = await TcpProxy.start(
    server.ready.nats,
    dropMessages((payload) => {
      if (isDropped(payload)) droppedCount += 1;
      return isDropped(payload);
    }),
  );
  way.nats = [`nats://127.0.0.1:${nats.port}`];
  ana = await Bus.connect({ urls: [server.ready.http], identity: people.ana, state: new MemoryState() });
  bob = await Bus.connect({ urls: [way.url], identity: people.bob, state: new MemoryState(), lazy: true });
  carol = await Bus.connect({
    urls: [server.ready.http],
    identity: people.carol,
    state: new MemoryState(),
    lazy: true,
  });
  mine = await ana.createRoom(freshSubject(), "matrix");
  await mine.membership.add(people.bob.endpoint);
  theirs = await bob.room(mine.id);
});
afterEach(() => {
  way.honest();
  isDropped = () => false;
});
afterAll(async () => {
  for (const bus of [ana, bob, carol]) await bus.close();
  await nats[Symbol.asyncDispose]();
  await way[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

/** A room of all three, as each of them has it. Bob waits a short time only for what is in flight. */
async function scene() {
  const own = await ana.createRoom(freshSubject(), "matrix");
  await own.membership.add([people.bob.endpoint, people.carol.endpoint]);
  const [his, hers] = await Promise.all([bob.room(own.id), carol.room(own.id)]);
  const { watch } = partsOf(his);
  Object.assign(watch.times, { graceMs: 200, everyMs: 300 });
  const changes: RoomIntegrity["state"][] = [];
  his.on("integrity", ({ state }) => changes.push(state));
  const got: string[] = [];
  const follow = () => his.onMessage(({ text }) => void got.push(text));
  return { own, his, hers, follow, got, changes };
}

/** Does not show bob these messages live any more. */
const hideLive = (...ids: readonly string[]): void => {
  isDropped = (payload) => ids.some((id) => payload.includes(`"id":"${id}"`));
};

/** The ids of messages that are sent one after another. */
async function sendAll(room: Room, ...texts: readonly string[]): Promise<Sent[]> {
  const sent: Sent[] = [];
  for (const text of texts) sent.push(await room.send(text));
  return sent;
}

/** Sends a message that bob does not get live. He has those before it. */
async function sendHidden(room: Room, text: string): Promise<Sent> {
  const before = isDropped;
  isDropped = (payload) => payload.includes(`"s":"${room.subject}"`) || before(payload);
  const sent = await room.send(text);
  hideLive(sent.id);
  return sent;
}

const stateIs = (room: Room, state: RoomIntegrity["state"]): Promise<unknown> =>
  until(`the state is ${state}`, () => room.integrity.state === state);

/** Leaves these sequence numbers out of every page. */
function hide(...gone: readonly number[]): void {
  way.alter<Page>("/history", (page) => {
    const kept = page.seqs
      .map((seq, at) => ({ seq, text: page.messages[at] ?? "" }))
      .filter(({ seq }) => !gone.includes(seq));
    return { ...page, seqs: kept.map(({ seq }) => seq), messages: kept.map(({ text }) => text) };
  });
}

test("a message left out in the middle, and the newest ones, are named, and stop neither reading nor sending", async () => {
  for (const text of ["one", "two", "three", "four"]) await mine.send(text);
  await mine.send("erased");
  const { messages } = await mine.history();
  await mine.delete(messages[4] as Message);
  const last = await mine.send("last");
  // Bob reads it, so that his message says that it exists.
  await theirs.history();
  const answer = await theirs.send("read");
  const whole = await checkHistory(partsOf(theirs), undefined);
  expect(whole).toMatchObject({ state: "whole", since: null, findings: [] });
  expect(whole.linked).toBe(whole.messages);

  hide(3, last.seq ?? 0);
  using cli = new CliPeer(server, people.bob, "bob");
  const verify = cli.run(["history", mine.id, "--verify", "--url", way.url]);
  const { state, findings } = await checkHistory(partsOf(theirs), undefined);
  const gap = { what: "gap", from: people.ana.endpoint };
  expect(state).toBe("gap");
  expect(findings).toEqual([
    expect.objectContaining({
      ...gap,
      first: 2,
      last: 2,
      after: messages[1]?.id,
      before: messages[3]?.id,
      saidBy: null,
    }),
    expect.objectContaining({ ...gap, before: null, saidBy: people.bob.endpoint }),
  ]);
  const { code, stdout, stderr } = await verify;
  expect([code, stderr]).toEqual([1, expect.stringContaining("2 gaps")]);
  expect(stdout).toContain(`1 message of ana (${people.ana.endpoint}) is missing between ${messages[1]?.id} and`);
  await theirs.send("still sending");

  way.honest();
  expect(await checkHistory(partsOf(theirs), undefined)).toMatchObject({ state: "whole", findings: [] });
  expect(await cli.ok(["history", mine.id, "--verify"])).toContain(": whole, ");
  expect(answer.seq).toBeGreaterThan(0);
});

test("one that is dropped live and in the history is named by the next one, and goes on being read and sent to", async () => {
  const { own, his, follow, got, changes } = await scene();
  const stop = await follow();
  const [one] = await sendAll(own, "one");
  await until("bob has it", () => his.stats().received === 1);
  const two = await sendHidden(own, "two");
  hide(two.seq ?? 0);
  const [three] = await sendAll(own, "three");
  await stateIs(his, "gap");
  const gap = { what: "gap", from: people.ana.endpoint, first: 1, last: 1, saidBy: null };
  expect(his.integrity.findings).toMatchObject([{ ...gap, after: one?.id, before: three?.id }]);
  expect(Math.abs(Date.now() - (his.integrity.findings[0]?.sinceMs ?? 0))).toBeLessThan(60_000);
  expect(changes).toEqual(["whole", "waiting", "gap"]);
  await his.send("still sending");
  await until("bob reads on", () => got.join() === "one,three,still sending");
  // It is shown after all.
  way.honest();
  await his.history();
  await stateIs(his, "whole");
  expect(his.integrity.findings).toEqual([]);
  stop();
});

test("one that is lost only on the way is read from the history, without an alarm; three such claims cause no more reads", async () => {
  const { own, his, follow, changes } = await scene();
  const stop = await follow();
  await sendAll(own, "first");
  await until("bob has it", () => his.stats().received === 1);
  for (let round = 1; round <= 4; round++) {
    await sendHidden(own, "lost");
    const before = changes.length;
    await sendAll(own, "next");
    await until("it is noticed", () => changes.slice(before).includes("waiting"));
    if (round <= 3) await stateIs(his, "whole");
  }
  const asked = way.asked.length;
  // More messages than are in flight at once, and more time than is between two reads.
  await Promise.all(Array.from({ length: 70 }, () => own.send("more")));
  await until("bob has them all", () => his.stats().received >= 75);
  await Bun.sleep(700);
  expect(way.asked.slice(asked).filter((line) => line.includes("/history"))).toEqual([]);
  expect(his.integrity).toMatchObject({ state: "waiting", findings: [] });
  // Without a read it stays open; what the application reads closes it.
  await his.history();
  await stateIs(his, "whole");
  expect(changes).not.toContain("gap");
  stop();
});

test("the claims of one member cost one read in a minute, however many there are", async () => {
  const { own, his, follow } = await scene();
  Object.assign(partsOf(his).watch.times, { everyMs: 60_000, messages: 4 });
  const stop = await follow();
  const reads = () => way.asked.filter((line) => line.includes(`${own.id}/history`) && line.includes("limit=1000"));
  await sendAll(own, "first");
  await until("bob has it", () => his.stats().received === 1);
  await sendHidden(own, "lost");
  await sendAll(own, "next");
  await until("it was read again", () => reads().length > 0 && his.integrity.state === "whole");
  const { length } = reads();
  for (let round = 0; round < 3; round++) {
    await sendHidden(own, "lost");
    const { received } = his.stats();
    await sendAll(own, "a", "b", "c", "d");
    await until("bob has them", () => his.stats().received === received + 4);
  }
  await stateIs(his, "waiting");
  await Bun.sleep(500);
  expect([reads().length, his.integrity.state]).toEqual([length, "waiting"]);
  stop();
});

test("the newest one is named once another member's message names it: two members see different histories", async () => {
  const { own, his, hers, follow } = await scene();
  const stops = [await follow(), await hers.onMessage(() => undefined)];
  const [one] = await sendAll(own, "one");
  await until("bob has it", () => his.stats().received === 1);
  const two = await sendHidden(own, "two");
  hide(two.seq ?? 0);
  await until("carol has it", () => hers.stats().received === 2);
  await hers.send("carol has read two");
  await stateIs(his, "gap");
  const tail = { from: people.ana.endpoint, first: 1, last: 1, after: one?.id, before: null };
  expect(his.integrity.findings).toMatchObject([{ what: "gap", ...tail, saidBy: people.carol.endpoint }]);
  expect(hers.integrity).toMatchObject({ state: "whole", findings: [] });
  for (const stop of stops) stop();
});

test("another message in the place of one that others saw is a fork", async () => {
  const { own, his, hers, follow } = await scene();
  const stops = [await follow(), await hers.onMessage(() => undefined)];
  await sendAll(own, "one");
  // A program of ana that makes two messages with one place, of which the server shows bob one and carol the other.
  const { chain } = partsOf(own).sender;
  const { kept } = chain;
  const [mine2] = await sendAll(own, "for bob");
  chain.resume(kept);
  await until("bob and carol have it", () => his.stats().received + hers.stats().received === 4);
  const other = await sendHidden(own, "for carol");
  hide(other.seq ?? 0);
  await until("carol has both", () => hers.stats().received === 3);
  await hers.send("carol saw the other one");
  await stateIs(his, "fork");
  const fork = { what: "fork", from: people.ana.endpoint, first: 1, after: mine2?.id, saidBy: people.carol.endpoint };
  expect(his.integrity.findings).toMatchObject([fork]);
  expect(hers.integrity.state).toBe("fork");
  expect(hers.integrity.findings[0]).toMatchObject({ what: "fork", from: people.ana.endpoint, first: 1, saidBy: null });
  for (const stop of stops) stop();
});

test("two that are swapped are named; one that is repeated is dropped, which is not a fault", async () => {
  const { own, his } = await scene();
  const [, , three] = await sendAll(own, "one", "two", "three", "four");
  way.alter<Page>("/history", (page) => ({ ...page, messages: [0, 1, 1, 2, 3].map((at) => page.messages[at] ?? "") }));
  expect((await his.history()).messages.map(({ text }) => text)).toEqual(["one", "two", "three", "four"]);
  expect(his.integrity).toMatchObject({ state: "whole", findings: [] });
  const again = await (await bob.room(own.id)).history();
  expect(again.messages.length).toBe(4);
  way.alter<Page>("/history", (page) => ({ ...page, messages: [0, 2, 1, 3].map((at) => page.messages[at] ?? "") }));
  await his.history();
  await stateIs(his, "gap");
  const order = { what: "order", from: people.ana.endpoint, first: 1, last: 1 };
  expect(his.integrity.findings).toMatchObject([order]);
  expect(his.integrity.findings[0]?.before ?? three?.id).toBe(three?.id);
});

test("an old copy of the history, after the client has read more, is named by the next message", async () => {
  const { own, his, follow } = await scene();
  const stop = await follow();
  const sent = await sendAll(own, "one", "two", "three", "four");
  await until("bob has them", () => his.stats().received === 4);
  hide(...sent.slice(2).map(({ seq }) => seq ?? 0));
  nats.cutAll();
  const [five] = await sendAll(own, "five");
  await until("bob has the next one", () => his.stats().received === 5);
  await his.history();
  await stateIs(his, "gap");
  const gap = { what: "gap", from: people.ana.endpoint, first: 2, last: 3, saidBy: null };
  expect(his.integrity.findings).toMatchObject([{ ...gap, after: sent[1]?.id, before: five?.id }]);
  stop();
});

test("a history that begins later than before is a gap, unless its first message was erased", async () => {
  const { own, his, follow } = await scene();
  const stop = await follow();
  await sendAll(own, "one", "two", "three");
  const { messages } = await his.history();
  expect(his.integrity).toMatchObject({ state: "whole", since: null });
  hide(1);
  way.alter<Page & { first_seq: number }>("/history", (page) => {
    const at = page.seqs.indexOf(1);
    return at < 0 ? page : { ...page, seqs: page.seqs.slice(1), messages: page.messages.slice(1), first_seq: 2 };
  });
  await his.history();
  await stateIs(his, "gap");
  expect(his.integrity.findings).toMatchObject([
    { from: people.ana.endpoint, first: 0, after: null, before: messages[1]?.id },
  ]);
  way.honest();
  await own.delete((await own.history()).messages[0] as Message);
  await stateIs(his, "whole");
  expect(his.integrity.explained).toMatchObject([{ from: people.ana.endpoint, n: 0, erasedBy: people.ana.endpoint }]);
  stop();
});

test("in a room that keeps no messages, what is missing is counted, without an alarm", async () => {
  const own = await ana.createRoom(freshSubject(), { persist: false, encrypt: true, sign_msgs: true });
  await own.membership.add(people.bob.endpoint);
  const his = await bob.room(own.id);
  partsOf(his).watch.times.graceMs = 100;
  const stop = await his.onMessage(() => undefined);
  await sendAll(own, "one");
  await until("bob has it", () => his.stats().received === 1);
  expect(his.integrity.state).toBe("whole");
  const before = droppedCount;
  isDropped = (payload) => payload.includes(`"s":"${own.subject}"`);
  await sendAll(own, "two", "three");
  await until("they are dropped", () => droppedCount >= before + 2);
  isDropped = () => false;
  await sendAll(own, "four");
  await stateIs(his, "unknown");
  expect(his.integrity).toMatchObject({ findings: [], lost: 2 });
  stop();
});

test("sends of the command line go on with one chain, and two at once have one each", async () => {
  const { own } = await scene();
  using cli = new CliPeer(server, people.carol, "carol");
  await cli.ok(["send", own.id, "one"]);
  await cli.ok(["send", own.id, "two"]);
  await Promise.all([cli.ok(["send", own.id, "at once"]), cli.ok(["send", own.id, "at once"])]);
  await cli.ok(["send", own.id, "last"]);
  const { messages } = await own.history();
  const chains = messages.map(({ header }) => header.chain);
  const [first] = chains;
  expect(chains.slice(0, 2).map((one) => [one?.id, one?.n])).toEqual([
    [first?.id ?? "", 0],
    [first?.id ?? "", 1],
  ]);
  const places = chains
    .slice(2, 4)
    .map((one) => `${one?.id === first?.id} ${one?.n}`)
    .sort();
  expect(["false 0,true 2", "true 2,true 3"]).toContain(places.join());
  expect(chains[4]?.n).toBeGreaterThan(0);
  expect(new Set(chains.map((one) => `${one?.id} ${one?.n}`)).size).toBe(5);
  expect(await checkHistory(partsOf(own), undefined)).toMatchObject({ state: "whole", findings: [] });
});
