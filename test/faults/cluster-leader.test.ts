/** The leader is killed: no acknowledged write is lost, and the outage is bounded. */
import { expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { buckets } from "../../src/wire/names.ts";
import { until } from "../support/executable.ts";
import { castOf } from "../support/inside.ts";
import { addMembers, at, createRoom, dial, policy } from "../support/peer.ts";
import { framesAt } from "./chaos/frames.ts";
import { Nodes } from "./chaos/nodes.ts";
import { published, Scene } from "./chaos/scene.ts";

/**
 * How long a stream may be without a leader, in milliseconds: nats-server's followers wait 4 to 9 s before they start
 * an election, and a split vote starts over.
 */
const outageMsMax = 25_000;

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
  await using nodes = await Nodes.start();
  const { admin, ana, bob } = await castOf(nodes.at(0), "ana", "bob");
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
