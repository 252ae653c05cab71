/**
 * Three servers hold the buckets. A server that is partitioned from the others must deny every read, whatever it has
 * cached.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { bucketStream, buckets } from "../../src/wire/names.ts";
import { failure, keySample, peer, roomIdSample, roomSample, userSample } from "../conformance/store-samples.ts";
import { until } from "../support/executable.ts";
import { jetStream } from "../support/inside.ts";
import { type ClusterStore, KvCluster } from "../support/kv-cluster.ts";

/** The leader lease plus the time to detect that it has expired, at most. */
const denyMsMax = 8_000;
const healMsMax = 60_000;

interface Node {
  readonly child: Bun.Subprocess;
  readonly store: ClusterStore;
}

let cluster: KvCluster;
let nodes: Node[] = [];

beforeAll(async () => {
  cluster = await KvCluster.start();
  // Three nodes that start cold create the same buckets at once.
  nodes = await Promise.all(cluster.children.map(async (child, n) => ({ child, store: await cluster.store(n) })));
}, 60_000);
afterAll(() => cluster[Symbol.asyncDispose]());

/** Returns the node that leads a bucket, and the two others. */
async function leaderOf(bucket: string): Promise<[Node, Node, Node]> {
  const [some] = nodes;
  if (some === undefined) throw new Error("no node");
  type Info = { cluster?: { leader?: string } };
  let leader: string | undefined;
  await until(`${bucket} has a leader`, async () => {
    leader = (await jetStream<Info>(some.store.connection, `STREAM.INFO.${bucketStream(bucket)}`)).cluster?.leader;
    return leader !== undefined;
  });
  const at = Number(leader?.slice(1));
  return [...nodes.slice(at), ...nodes.slice(0, at)] as [Node, Node, Node];
}

test("a commit on one node is visible in the next read on every other", async () => {
  const [a, b, c] = nodes as [Node, Node, Node];
  await a.store.users.insertUser(userSample(1));
  await b.store.rooms.insertRoom(roomSample(1));
  for (let turn = 0; turn < 20; turn++) {
    const [writer, reader] = [nodes[turn % 3] ?? a, nodes[(turn + 1) % 3] ?? b];
    const user = await writer.store.users.getUser(keySample(1));
    expect(user && (await writer.store.users.replaceUser({ ...user, handle: `turn ${turn}` }))).toBe(true);
    expect((await reader.store.users.getUser(keySample(1)))?.handle).toBe(`turn ${turn}`);
  }
  expect(await c.store.rooms.getStay(roomIdSample(1), peer(1))).not.toBeNull();
  expect(await c.store.replicas.count()).toBe(3);
});

for (const bucket of [buckets.users, buckets.rooms]) {
  test(`the leader of ${bucket} denies reads while it is cut off, and recovers when the others are back`, async () => {
    const [leader, ...others] = await leaderOf(bucket);
    const read = () =>
      bucket === buckets.users
        ? leader.store.users.getUser(keySample(1))
        : leader.store.rooms.getStay(roomIdSample(1), peer(1));
    // The buckets recover from the previous case one after the other.
    const stands = () =>
      read().then(
        (found) => found !== null,
        () => false,
      );
    await until("the leader answers", stands, healMsMax);
    for (const { child } of others) child.kill("SIGSTOP");
    try {
      const denied = () =>
        read().then(
          () => false,
          () => true,
        );
      await until("the leader denies", denied, denyMsMax);
      expect((await failure(read())).code).toBe("unavailable");
      expect((await leader.store.health()).ok).toBe(false);
    } finally {
      for (const { child } of others) child.kill("SIGCONT");
    }
    const answers = () =>
      read().then(
        (found) => found !== null,
        () => false,
      );
    await until("it answers again", answers, healMsMax);
  }, 90_000);
}
