/** Notices hint at rooms. The reads that they cause are bounded, for any rooms and for any number of notices. */
import { expect, test } from "bun:test";
import { Hints } from "../../src/client/transport/hints.ts";
import { until } from "../support/executable.ts";

/** Burst of reads that hints may cause; after it, one per second. Source: docs/protocol/notices.md. */
const burst = 20;

test("junk hints about many rooms, spread over time, cause 20 reads at once and then one a second", async () => {
  let reads = 0;
  const hints = new Hints(async () => {
    reads += 1;
  });
  const began = performance.now();
  // Each round names another room, and starts after the reads that the round before could cause.
  for (let round = 0; round < 150; round++) {
    hints.take(`room-${round}`, round % 2 === 0);
    await Bun.sleep(10);
  }
  const seconds = (performance.now() - began) / 1_000;
  expect(reads).toBeGreaterThanOrEqual(burst);
  expect(reads).toBeLessThanOrEqual(burst + Math.ceil(seconds));
});

test("several hints about a room before it is read cause one read, which learns of any departure", async () => {
  const read: [string, boolean][] = [];
  const { promise: isFree, resolve } = Promise.withResolvers<void>();
  const hints = new Hints(async (roomId, hasLeft) => {
    read.push([roomId, hasLeft]);
    await isFree;
  });
  hints.take("first", false);
  await until("the first is read", () => read.length === 1);
  for (let i = 0; i < 100; i++) hints.take("second", i === 50);
  resolve();
  await until("the second is read", () => read.length === 2);
  expect(read).toEqual([
    ["first", false],
    ["second", true],
  ]);
});

test("at most 1,000 rooms wait to be read: further ones are dropped", async () => {
  const read = new Set<string>();
  const { promise: isFree, resolve } = Promise.withResolvers<void>();
  const hints = new Hints(async (roomId) => {
    read.add(roomId);
    await isFree;
  });
  hints.take("held", false);
  await until("one is read", () => read.size === 1);
  for (let i = 0; i < 5_000; i++) hints.take(`room-${i}`, false);
  expect(hints.waiting).toBe(1_000);
  resolve();
});
