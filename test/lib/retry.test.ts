/** Retries of temporary failures, within one total time limit. */
import { expect, test } from "bun:test";
import { retry } from "../../src/lib/retry.ts";

const passing = new Error("passing");

/** Work that fails `times` times with `error`, and counts its attempts. */
function failing(times: number, error: Error) {
  const left: number[] = [];
  const work = async (leftMs: number): Promise<string> => {
    left.push(leftMs);
    if (left.length <= times) throw error;
    return "done";
  };
  return { work, left };
}

test("a temporary failure is retried, and each attempt gets the remaining time", async () => {
  const { work, left } = failing(3, passing);
  const options = { withinMs: 60_000, pauseMs: 5, isPassing: (error: unknown) => error === passing };
  expect(await retry(work, options)).toBe("done");
  expect(left).toHaveLength(4);
  expect(left).toEqual([...left].sort((a, b) => b - a));
});

test("any other failure is thrown at once", async () => {
  const { work, left } = failing(1, new Error("for good"));
  expect(retry(work, { withinMs: 60_000, pauseMs: 5, isPassing: () => false })).rejects.toThrow("for good");
  expect(left).toHaveLength(1);
});

test("no attempt begins after the time is over", async () => {
  const { work, left } = failing(Number.POSITIVE_INFINITY, passing);
  const began = performance.now();
  const outcome = await retry(work, { withinMs: 100, pauseMs: 10, isPassing: () => true }).catch((error) => error);
  expect(outcome).toBe(passing);
  expect(performance.now() - began).toBeGreaterThan(80);
  expect(left.every((ms) => ms > 0)).toBe(true);
});
