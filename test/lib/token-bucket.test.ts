/** A token bucket that waits for its rate, and one that refuses. */
import { expect, test } from "bun:test";
import { TokenBucket } from "../../src/lib/token-bucket.ts";

test("gives its burst at once, then waits for its rate", async () => {
  const bucket = new TokenBucket(5, 50);
  const began = performance.now();
  let taken = 0;
  const all = Array.from({ length: 7 }, () => bucket.take().then(() => void taken++));
  // No timer can fire before the event loop turns: the burst waits for none.
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
  expect(taken).toBe(5);
  await Promise.all(all);
  expect(performance.now() - began).toBeGreaterThan(25);
});

test("tryTake gives no more than the burst, and never waits", () => {
  const bucket = new TokenBucket(3, 0.001);
  expect(Array.from({ length: 10 }, () => bucket.tryTake())).toEqual([true, true, true, ...Array(7).fill(false)]);
});
