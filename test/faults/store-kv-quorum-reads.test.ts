/**
 * Three replicas, changing leaders and lagging replicas: reads are linearizable, never older than what was committed
 * before they began.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { bucketStream, buckets } from "../../src/wire/names.ts";
import { keySample, upTo, userSample } from "../conformance/store-samples.ts";
import { until } from "../support/executable.ts";
import { jetStream } from "../support/inside.ts";
import { type ClusterStore, KvCluster } from "../support/kv-cluster.ts";

const keys = 4;
const playMs = 4_000;
const pauseMs = 600;
const healMsMax = 30_000;
const stream = bucketStream(buckets.users);

let cluster: KvCluster;
let nodes: ClusterStore[];
beforeAll(async () => {
  cluster = await KvCluster.start();
  nodes = await Promise.all(upTo(3).map((place) => cluster.store(place)));
  for (const n of upTo(keys)) await nodes[0]?.users.insertUser(userSample(n, { handle: "0" }));
}, 60_000);
afterAll(() => cluster[Symbol.asyncDispose](), 60_000);

const nodeAt = (place: number): ClusterStore => nodes[place % nodes.length] as ClusterStore;

async function leaderPlace(): Promise<number> {
  let leader: string | undefined;
  await until("there is a leader", async () => {
    type Info = { cluster?: { leader?: string } };
    leader = (await jetStream<Info>(nodeAt(0).connection, `STREAM.INFO.${stream}`)).cluster?.leader;
    return leader !== undefined;
  });
  return Number(leader?.slice(1));
}

let turn = 0;
const committed = upTo(keys).map(() => 0);

/** Writes and reads at every node until `disturb` is done, retrying denied calls. */
async function play(disturb: () => Promise<void>): Promise<number> {
  let isOver = false;
  let reads = 0;
  const read = async (place: number, n: number) => {
    for (let last = 0; !isOver; ) {
      const floor = Math.max(last, committed[n] ?? 0);
      const user = await nodeAt(place)
        .users.getUser(keySample(n))
        .catch(() => undefined);
      if (user === undefined) continue;
      last = Number(user?.handle);
      expect(last).toBeGreaterThanOrEqual(floor);
      reads += 1;
      await Bun.sleep(Math.random() * 4);
    }
  };
  const write = async (n: number) => {
    while (!isOver) {
      const place = Math.floor(Math.random() * nodes.length);
      const handle = ++turn;
      const { users } = nodeAt(place);
      const isMade = await users
        .getUser(keySample(n))
        .then(async (user) => user !== null && (await users.replaceUser({ ...user, handle: `${handle}` })))
        .catch(() => false);
      // A write whose answer was lost may have been applied; the next value of its key is then higher.
      if (isMade) committed[n] = handle;
      await Bun.sleep(Math.random() * 10);
    }
  };
  const all = [...upTo(12).map((r) => read(r % 3, r % keys)), ...upTo(keys).map(write)];
  await disturb().finally(() => {
    isOver = true;
  });
  await Promise.all(all);
  return reads;
}

async function untilAnswered(): Promise<void> {
  for (const { users } of nodes) {
    const answers = () =>
      users.getUser(keySample(0)).then(
        (user) => user !== null,
        () => false,
      );
    await until("every node answers", answers, healMsMax);
  }
}

test("no read is stale while nothing happens", async () => {
  expect(await play(() => Bun.sleep(playMs))).toBeGreaterThan(500);
}, 60_000);

test("no read is stale while leaders step down", async () => {
  const reads = await play(async () => {
    for (const _ of upTo(3)) {
      await Bun.sleep(playMs / 4);
      await jetStream(nodeAt(0).connection, `STREAM.LEADER.STEPDOWN.${stream}`).catch(() => undefined);
    }
    await Bun.sleep(playMs / 4);
  });
  expect(reads).toBeGreaterThan(100);
  await untilAnswered();
}, 60_000);

test("no read is stale while replicas are stopped, the leader last", async () => {
  const leader = await leaderPlace();
  await play(async () => {
    for (const step of [1, 2, 3]) {
      const child = cluster.children[(leader + step) % 3];
      child?.kill("SIGSTOP");
      await Bun.sleep(pauseMs).finally(() => child?.kill("SIGCONT"));
      await Bun.sleep(pauseMs);
    }
  });
  await untilAnswered();
}, 60_000);
