/**
 * Races every pair of commands that change or read a room, a user or an invite, started at once on one bus. Runs each
 * pair once; `npm run soak -- races` runs each 50 times. UNIBUS_RACES_SEED reproduces the order and the pauses of a
 * run.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { pairs, raceAll, type Stage, startStage, totalsOf } from "../support/races/stage.ts";
import { isSoak } from "../support/soak.ts";

const seed = Number(process.env.UNIBUS_RACES_SEED ?? Math.floor(Math.random() * 1e9));
const runs = Number(process.env.UNIBUS_RACES_RUNS ?? (isSoak("races") ? 50 : 1));
const timeoutMs = 3_600_000;

for (const [store, flags] of [
  ["SQLite", {}],
  ["KV", { decentralized: true }],
] as const) {
  describe(`on ${store}`, () => {
    let stage: Stage;
    beforeAll(async () => {
      stage = await startStage(flags, seed);
    }, 60_000);
    afterAll(() => stage.nodes[0][Symbol.asyncDispose]());

    test(
      `${pairs.length} pairs of commands, ${runs} times each (UNIBUS_RACES_SEED=${seed})`,
      async () => {
        const began = performance.now();
        const faults = await raceAll(stage, { seed, runs });
        const seconds = ((performance.now() - began) / 1_000).toFixed(1);
        console.log(`races on ${store}: ${pairs.length * runs} in ${seconds} s, UNIBUS_RACES_SEED=${seed}`);
        expect(faults).toEqual([]);
        expect(await totalsOf(stage, store === "KV")).toEqual([]);
      },
      timeoutMs,
    );
  });
}
