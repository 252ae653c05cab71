/** A semaphore over bytes: bounded, and small work is not blocked by large work that waits. */
import { describe, expect, test } from "bun:test";
import { WeightedSemaphore } from "../../src/lib/weighted-semaphore.ts";

const late = () => new Error("late");
const minuteMs = 60_000;

/** Work that starts when the semaphore admits it and ends when the test ends it. */
function work(gate: WeightedSemaphore, bytes: number, timeoutMs = minuteMs) {
  const end = Promise.withResolvers<string>();
  const state = { hasBegun: false };
  const done = gate.hold(bytes, timeoutMs, late, () => {
    state.hasBegun = true;
    return end.promise;
  });
  return { state, done, end: () => end.resolve("done"), fail: () => end.reject(new Error("failed")) };
}
/** Lets all pending callbacks run. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

describe("a semaphore of 10 bytes", () => {
  test("admits what fits, and the rest as others finish", async () => {
    const gate = new WeightedSemaphore(10);
    const [one, two, three] = [work(gate, 6), work(gate, 4), work(gate, 5)];
    await settled();
    expect([one, two, three].map(({ state }) => state.hasBegun)).toEqual([true, true, false]);
    two.end();
    await settled();
    expect(three.state.hasBegun).toBe(false);
    one.end();
    await settled();
    expect(three.state.hasBegun).toBe(true);
    three.end();
    expect(await Promise.all([one.done, two.done, three.done])).toEqual(["done", "done", "done"]);
  });

  test("lets small work pass waiting large work", async () => {
    const gate = new WeightedSemaphore(10);
    const [first, large, small] = [work(gate, 8), work(gate, 9), work(gate, 2)];
    await settled();
    expect([first, large, small].map(({ state }) => state.hasBegun)).toEqual([true, false, true]);
    first.end();
    small.end();
    await settled();
    expect(large.state.hasBegun).toBe(true);
    large.end();
    await large.done;
  });

  test("releases the bytes of work that failed or was not started in time", async () => {
    const gate = new WeightedSemaphore(10);
    const first = work(gate, 10);
    const hasty = work(gate, 10, 1);
    expect(await hasty.done.catch((error: Error) => error.message)).toBe("late");
    first.fail();
    expect(await first.done.catch((error: Error) => error.message)).toBe("failed");
    expect(hasty.state.hasBegun).toBe(false);
    const next = work(gate, 10);
    await settled();
    expect(next.state.hasBegun).toBe(true);
    next.end();
    await next.done;
  });
});
