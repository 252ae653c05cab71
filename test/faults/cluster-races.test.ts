/**
 * The races of races.test.ts, with the two commands of a pair sent to different nodes of a cluster, so that no
 * in-memory lock separates them. Runs some pairs, chosen by the seed; `npm run soak -- races-cluster` runs each 10
 * times.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { startCluster } from "../support/races/cluster.ts";
import { randomOf } from "../support/races/race.ts";
import { pairs, raceAll, totalsOf } from "../support/races/stage.ts";
import { isSoak } from "../support/soak.ts";

const seed = Number(process.env.UNIBUS_RACES_SEED ?? Math.floor(Math.random() * 1e9));
const runs = Number(process.env.UNIBUS_RACES_RUNS ?? (isSoak("races-cluster") ? 10 : 0));
/** How many pairs CI runs, once each. */
const someMax = 24;

/** Returns all pairs in a soak test, otherwise some of them. */
function chosen(): typeof pairs {
  if (runs > 0) return pairs;
  const random = randomOf(seed);
  const shuffled = pairs.map((pair) => ({ pair, at: random() })).sort((a, b) => a.at - b.at);
  return shuffled.slice(0, someMax).map(({ pair }) => pair);
}

let stage: Awaited<ReturnType<typeof startCluster>>;
beforeAll(async () => {
  stage = await startCluster(seed);
}, 180_000);
afterAll(() => stage?.[Symbol.asyncDispose]());

test(`pairs of commands on two nodes of three (UNIBUS_RACES_SEED=${seed})`, async () => {
  const of = chosen();
  const began = performance.now();
  const faults = await raceAll(stage, { seed, runs: Math.max(1, runs), of, atOnce: 3, mayBeUnavailable: true });
  const seconds = ((performance.now() - began) / 1_000).toFixed(1);
  console.log(`races on three nodes: ${of.length * Math.max(1, runs)} in ${seconds} s, UNIBUS_RACES_SEED=${seed}`);
  expect(faults).toEqual([]);
  expect(await totalsOf(stage, true)).toEqual([]);
}, 3_600_000);
