/**
 * A client that knows all three nodes keeps working while each node is killed in turn: an acknowledged message is
 * stored once and delivered once, in order, and every request that the client makes takes effect once.
 * Source: docs/protocol/durables.md.
 * 9.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { type Bus, connect } from "../../src/client/index.ts";
import { until } from "../support/executable.ts";
import { castOf } from "../support/inside.ts";
import { freshSubject } from "../support/peer.ts";
import { Nodes, nodesCount } from "./chaos/nodes.ts";

/** How many messages are acknowledged before a node dies, while it is down, and after it is back. */
const each = 10;

let nodes: Nodes;
let ana: Identity;
let bob: Identity;

beforeAll(async () => {
  nodes = await Nodes.start();
  ({ ana, bob } = await castOf(nodes.at(0), "ana", "bob"));
}, 60_000);
afterAll(() => nodes[Symbol.asyncDispose]());

const open = (identity: Identity, first: number): Promise<Bus> => {
  const urls = nodes.urls.map((_, i) => nodes.url((first + i) % nodesCount));
  return connect({ urls, identity, state: "memory" });
};

/** Measures the longest time between two calls of `mark`, in milliseconds. */
function longestGap(): { mark: () => void; readonly ms: () => number } {
  let [last, longest] = [performance.now(), 0];
  const mark = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  };
  return { mark, ms: () => Math.round(longest) };
}

test("clients lose no message while each node restarts in turn, as for an upgrade", async () => {
  await using here = await open(ana, 0);
  await using there = await open(bob, 1);
  const mine = await here.createRoom(freshSubject(), "matrix");
  await mine.membership.add(bob.endpoint);
  const received: string[] = [];
  await (await there.room(mine.id)).onMessage(({ text }) => received.push(text));
  const sent: string[] = [];
  const [acks, reads] = [longestGap(), longestGap()];
  let isOver = false;
  const talking = (async () => {
    while (!isOver) {
      const text = `${sent.length}`;
      await mine.send(text, { timeoutMs: 60_000 });
      sent.push(text);
      acks.mark();
      await Bun.sleep(5);
    }
  })();
  const reading = (async () => {
    while (!isOver) {
      const isRead = await here.rooms().then(
        () => true,
        () => false,
      );
      if (isRead) reads.mark();
      await Bun.sleep(20);
    }
  })();
  for (let node = 0; node < nodesCount; node++) {
    await nodes.stop(node);
    await nodes.boot(node);
    await nodes.untilReady();
  }
  isOver = true;
  await Promise.all([talking, reading]);
  await until("bob has received all", () => received.length >= sent.length);
  expect(received).toEqual(sent);
  console.log(
    `rolling: ${sent.length} messages; longest without an ack ${acks.ms()} ms, without a read ${reads.ms()} ms`,
  );
}, 180_000);

test("clients lose no message while each node is killed in turn", async () => {
  await using here = await open(ana, 0);
  await using there = await open(bob, 1);
  const mine = await here.createRoom(freshSubject(), "matrix");
  await mine.membership.add(bob.endpoint);
  const theirs = await there.room(mine.id);
  const received: string[] = [];
  await theirs.onMessage(({ text }) => received.push(text));
  const sent: string[] = [];
  const talk = async (): Promise<void> => {
    for (let i = 0; i < each; i++) {
      const text = `${sent.length}`;
      await mine.send(text, { timeoutMs: 60_000 });
      sent.push(text);
    }
  };
  for (let node = 0; node < nodesCount; node++) {
    await talk();
    const talking = talk();
    await nodes.kill(node);
    await talking;
    // The remaining nodes serve a change and a full read.
    const before = mine.epoch;
    await until("the remaining two change the room", () =>
      mine.membership.rekey().then(
        () => true,
        () => false,
      ),
    );
    expect(mine.epoch).toBeGreaterThan(before);
    await talk();
    await nodes.boot(node);
    await nodes.untilReady();
  }
  await talk();
  await until("bob has received all", () => received.length >= sent.length);
  expect(received).toEqual(sent);
  const { messages } = await theirs.history({ limit: 1_000 });
  expect(messages.map(({ text }) => text)).toEqual(sent);
}, 180_000);
