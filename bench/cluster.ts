/**
 * Benchmarks of a cluster: start time, registrations, signed reads, failover, and the idle cost of many rooms.
 * All three nodes run on one machine and share its processors.
 * `support/cluster-load.ts` has the load generators.
 */
import { areReady, Cluster } from "../test/support/cluster.ts";
import { type Server, until } from "../test/support/executable.ts";
import { addUser, call, createRoom, policy, postUser } from "../test/support/peer.ts";
import { makeRooms, makeUsers, startBus } from "./support/bus.ts";
import {
  bareWrites,
  idlePercent,
  leaderOf,
  makeTokens,
  ownHost,
  residentMb,
  runLoad,
  sharedHost,
  startCluster,
} from "./support/cluster-load.ts";
import type { LoadJob, LoadResult } from "./support/load.ts";
import { median, timed } from "./support/measure.ts";
import type { RegisterJob } from "./support/register-load.ts";
import { workload } from "./workload.ts";

const starts = 3;
const inFlight = 32;
const rounds = 3;
/** Kept below the limit on pending invites. */
const people = { warmUp: 300, measured: 900 } as const;
const users = 64;
/** Requests are signed in advance; a round is sent well within the server's accepted clock skew. */
const requests = { warmUp: 1_000, measured: 3_000, shared: 1_000 } as const;
const failover = { beforeMs: 1_000, watchMs: 20_000, attemptMs: 1_000 } as const;
const rooms = 1_000;
const settleMs = 10_000;
const idleMs = 15_000;

async function startOnce(): Promise<number> {
  await using cluster = await Cluster.start({ started: 0 });
  return await timed(async () => {
    await Promise.all([0, 1, 2].map((node) => cluster.startNode(node)));
    await until("all are ready", () => areReady(cluster));
  });
}

async function measureStart() {
  const taken: number[] = [];
  for (let run = 0; run < starts; run++) taken.push(await startOnce());
  return { cold: { value: median(taken) } };
}

/** Measures how long three nodes take until all of them are ready. */
export const clusterStart = workload({
  name: "cluster-start",
  goal: { cold: { unit: "ms", atMost: 8_000 } },
  recipe: `three nodes started at once on empty data directories, until /readyz of all says so, median of ${starts}`,
  run: measureStart,
});

async function measureRegister() {
  await using cluster = await startCluster();
  const redeem = async (count: number): Promise<LoadResult> => {
    const { hostname, port } = new URL(cluster.node(0).ready.http);
    const tokens = await makeTokens(cluster.node(0), count);
    return runLoad<LoadResult>("register-load.ts", { hostname, port: Number(port), inFlight, tokens } as RegisterJob);
  };
  await redeem(people.warmUp);
  const results: LoadResult[] = [];
  const limits: number[] = [];
  for (let round = 0; round < rounds; round++) {
    results.push(await redeem(people.measured));
    limits.push(await bareWrites(cluster.node(0), people.measured, inFlight));
  }
  return {
    rate: { value: median(results.map(({ perSecond }) => perSecond)), limit: median(limits) },
    p99: { value: median(results.map(({ p99Ms }) => p99Ms)) },
  };
}

/** Measures how many people can join a cluster at once. */
export const clusterRegister = workload({
  name: "cluster-register",
  goal: { rate: { unit: "/s", atLeast: 800 }, p99: { unit: "ms" } },
  recipe:
    `POST /register at one node of three, three copies, ${inFlight} in flight, median of ${rounds} rounds of ` +
    `${people.measured}; limit: bare writes of one message, in the same run and as many in flight`,
  run: measureRegister,
});

/** Prepares signed reads, in which each user reads its own room. */
async function readsOf(server: Server): Promise<(count: number, host?: string) => Promise<LoadResult>> {
  const jobUsers: LoadJob["users"][number][] = [];
  for (const identity of await makeUsers(server, users)) {
    const { roomId } = (await createRoom(server, identity, policy("encrypt"))).state;
    const seed = Buffer.from(identity.signPriv.subarray(0, 32)).toString("hex");
    jobUsers.push({ seed, pub: identity.signPubHex, target: `/rooms/${roomId}` });
  }
  const { hostname, port } = new URL(server.ready.http);
  const at = { hostname, port: Number(port), inFlight, users: jobUsers };
  return (count, host) =>
    runLoad<LoadResult>("load.ts", { ...at, requests: count, ...(host === undefined ? {} : { host }) });
}

async function measureRead() {
  await using cluster = await startCluster({ ownAddress: true });
  const shared = await readsOf(cluster.node(0));
  const host = ownHost(cluster.node(0));
  if (host === undefined) throw new Error("this machine has no address but loopback, whose names all nodes share");
  await shared(requests.warmUp, host);
  const [own, named, alone]: [LoadResult[], LoadResult[], LoadResult[]] = [[], [], []];
  await using single = await startBus();
  const sqlite = await readsOf(single);
  await sqlite(requests.warmUp);
  for (let round = 0; round < rounds; round++) {
    own.push(await shared(requests.measured, host));
    named.push(await shared(requests.shared, sharedHost));
    alone.push(await sqlite(requests.measured));
  }
  const rateOf = (results: readonly LoadResult[]) => median(results.map(({ perSecond }) => perSecond));
  return {
    "own address": { value: rateOf(own), limit: rateOf(alone) },
    "shared name": { value: rateOf(named), limit: rateOf(alone) },
    p99: { value: median(own.map(({ p99Ms }) => p99Ms)), limit: median(alone.map(({ p99Ms }) => p99Ms)) },
  };
}

/** Measures the cost of a signed read when the store is replicated on three nodes. */
export const clusterRead = workload({
  name: "cluster-read",
  goal: { "own address": { unit: "/s", ofLimit: 0.7 }, "shared name": { unit: "/s" }, p99: { unit: "ms" } },
  recipe:
    `GET /rooms/{id} at one node of three, by ${users} users, ${inFlight} in flight, median of ${rounds} rounds of ` +
    `${requests.measured}; signed for an address that the node alone has; limit: one node over SQLite in the same ` +
    "run, beside the idle cluster; at a shared name every nonce is replicated before the request is admitted",
  run: measureRead,
});

/** Runs attempts one after another. Calling the result stops them and returns the longest time without a success. */
function watch(attempt: () => Promise<boolean>): () => Promise<number> {
  let isWatched = true;
  let longest = 0;
  const run = (async () => {
    let last = performance.now();
    while (isWatched) {
      const isDone = await attempt().catch(() => false);
      const now = performance.now();
      longest = Math.max(longest, now - last);
      if (isDone) last = now;
      else await Bun.sleep(10);
    }
  })();
  return async () => {
    isWatched = false;
    await run;
    return longest;
  };
}

async function measureFailover() {
  await using cluster = await startCluster();
  const admin = await addUser(cluster.node(0), "bench", { admin: true });
  const leader = await leaderOf(cluster);
  const [reads, writes] = cluster.nodes.filter((_, index) => index !== leader) as [Server, Server];
  const bounded = <T>(work: Promise<T>, otherwise: T) =>
    Promise.race([work, Bun.sleep(failover.attemptMs).then(() => otherwise)]);
  const stopReads = watch(() =>
    bounded(
      call(reads.ready.http, admin, "GET", "/directory").then(({ status }) => status === 200),
      false,
    ),
  );
  const stopWrites = watch(() =>
    bounded(
      postUser(writes, admin, "guest").then(() => true),
      false,
    ),
  );
  await Bun.sleep(failover.beforeMs);
  await cluster.endNode(leader, "SIGKILL");
  await Bun.sleep(failover.watchMs);
  const [read, write] = [await stopReads(), await stopWrites()];
  return { reads: { value: read }, writes: { value: write } };
}

/** Measures how long users notice the loss of a node. */
export const clusterFailover = workload({
  name: "cluster-failover",
  goal: { reads: { unit: "ms", atMost: 2_000 }, writes: { unit: "ms", atMost: 5_000 } },
  recipe:
    "the node that leads the users is killed; longest time without an answered signed read at one of the others, and " +
    "without a new user at the other, each tried again and again",
  run: measureFailover,
});

async function measureRooms() {
  await using cluster = await startCluster();
  const tookMs = await timed(() => makeRooms(cluster.node(0), rooms));
  await Bun.sleep(settleMs);
  const nodes = cluster.nodes.map(({ pid, ready }) => ({ bus: [pid], nats: [ready.nats_pid] }));
  const percents = await Promise.all(
    nodes.flatMap(({ bus, nats }) => [idlePercent(bus, idleMs), idlePercent(nats, idleMs)]),
  );
  const figure = (value = Number.NaN) => ({ value });
  const [bus0, nats0, bus1, nats1, bus2, nats2] = percents.map(figure);
  const memory = nodes.map(({ bus, nats }) => figure(residentMb([...bus, ...nats])));
  const none = figure();
  return {
    "made in": { value: tookMs },
    ...{ "node 0, bus %": bus0 ?? none, "node 0, nats %": nats0 ?? none, "node 0, rss": memory[0] ?? none },
    ...{ "node 1, bus %": bus1 ?? none, "node 1, nats %": nats1 ?? none, "node 1, rss": memory[1] ?? none },
    ...{ "node 2, bus %": bus2 ?? none, "node 2, nats %": nats2 ?? none, "node 2, rss": memory[2] ?? none },
  };
}

/** Measures what many rooms cost three idle nodes. */
export const clusterRooms = workload({
  name: "cluster-rooms",
  goal: {
    "made in": { unit: "ms" },
    ...{ "node 0, bus %": { unit: "" }, "node 0, nats %": { unit: "" }, "node 0, rss": { unit: "MB" } },
    ...{ "node 1, bus %": { unit: "" }, "node 1, nats %": { unit: "" }, "node 1, rss": { unit: "MB" } },
    ...{ "node 2, bus %": { unit: "" }, "node 2, nats %": { unit: "" }, "node 2, rss": { unit: "MB" } },
  },
  recipe:
    `${rooms} persisted rooms with three copies each, made by one node; then percent of one core over ` +
    `${idleMs / 1_000} s without requests, and memory, of executable and nats-server of each node`,
  run: measureRooms,
});
