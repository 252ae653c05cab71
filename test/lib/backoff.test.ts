import { expect, test } from "bun:test";
import { backoffMs } from "../../src/lib/backoff.ts";

/** The longest of many random pauses. */
const longest = (attempt: number) =>
  Math.max(...Array.from({ length: 2_000 }, () => backoffMs(attempt, { first: 100, most: 2_000 })));

test("the limit of a pause doubles with each attempt, up to the most", () => {
  for (const [attempt, limit] of [
    [0, 100],
    [1, 200],
    [3, 800],
    [5, 2_000],
    [100_000, 2_000],
  ] as const) {
    expect(longest(attempt)).toBeLessThanOrEqual(limit);
    expect(longest(attempt)).toBeGreaterThan(limit * 0.9);
  }
});
