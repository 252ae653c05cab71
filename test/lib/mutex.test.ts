import { expect, test } from "bun:test";
import { Mutex } from "../../src/lib/mutex.ts";

test("runs one work at a time, in order, and goes on after one that fails", async () => {
  const mutex = new Mutex();
  const steps: string[] = [];
  const work = (name: string) => async () => {
    steps.push(`${name} begins`);
    await Promise.resolve();
    steps.push(`${name} ends`);
    if (name === "a") throw new Error(name);
  };
  const failed = mutex.hold(work("a"));
  const done = mutex.hold(work("b"));
  await expect(failed).rejects.toThrow("a");
  await done;
  expect(steps).toEqual(["a begins", "a ends", "b begins", "b ends"]);
});

test("is settled when the work so far is over", async () => {
  const mutex = new Mutex();
  const { promise, resolve } = Promise.withResolvers<void>();
  let isOver = false;
  void mutex.hold(async () => {
    await promise;
    isOver = true;
  });
  resolve();
  await mutex.settled();
  expect(isOver).toBe(true);
});
