/**
 * A server that leaves messages out of the history: the client names their sender and place, also in the command line.
 * Source: docs/protocol/history.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Bus, MemoryState, type Message, type Room } from "../../src/client/index.ts";
import { checkHistory } from "../../src/client/rooms/history-check.ts";
import { partsOf } from "../../src/client/rooms/room-parts.ts";
import { CliPeer } from "../support/cli-peer.ts";
import { Server } from "../support/executable.ts";
import { HostileServer } from "../support/hostile-server.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { freshSubject } from "../support/peer.ts";

interface Page {
  readonly messages: string[];
  readonly seqs: number[];
}

let server: Server;
let people: Cast<"ana" | "bob">;
let way: HostileServer;
let ana: Bus;
let bob: Bus;
let mine: Room;
let theirs: Room;

beforeAll(async () => {
  server = await Server.start({ proxied: true, args: ["--set", "http.rate=100000"] });
  people = await castOf(server, "ana", "bob");
  way = await HostileServer.start(server.ready.http);
  ana = await Bus.connect({ urls: [server.ready.http], identity: people.ana, state: new MemoryState() });
  bob = await Bus.connect({ urls: [way.url], identity: people.bob, state: new MemoryState(), lazy: true });
  mine = await ana.createRoom(freshSubject(), "matrix");
  await mine.membership.add(people.bob.endpoint);
  theirs = await bob.room(mine.id);
});
afterAll(async () => {
  for (const bus of [ana, bob]) await bus.close();
  await way[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

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
