import { expect, test } from "bun:test";
import { Semaphore } from "../../src/lib/semaphore.ts";

/** Work that ends when the test says so, and what has begun. */
function works(semaphore: Semaphore) {
  const begun: number[] = [];
  const ends: PromiseWithResolvers<void>[] = [];
  const start = (n: number): Promise<void> => {
    const end = Promise.withResolvers<void>();
    ends[n] = end;
    return semaphore.run(async () => {
      begun.push(n);
      await end.promise;
    });
  };
  return { begun, start, end: (n: number) => ends[n]?.resolve() };
}

const late = () => new Error("late");

test("runs as many works as it has slots, and the others in order", async () => {
  const semaphore = new Semaphore(2);
  const { begun, start, end } = works(semaphore);
  const all = [0, 1, 2, 3].map(start);
  await Bun.sleep(0);
  expect(begun).toEqual([0, 1]);
  end(1);
  await all[1];
  await Bun.sleep(0);
  expect(begun).toEqual([0, 1, 2]);
  for (const n of [0, 2, 3]) end(n);
  await all[2];
  end(3);
  await Promise.all(all);
  expect(begun).toEqual([0, 1, 2, 3]);
  expect(semaphore.isIdle).toBe(true);
});

test("a work that fails releases its slot", async () => {
  const semaphore = new Semaphore(1);
  await expect(semaphore.run(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(await semaphore.run(async () => 1)).toBe(1);
});

test("refuses a caller when as many are waiting as may", async () => {
  const semaphore = new Semaphore(1, 1);
  const release = await semaphore.take();
  const waiting = semaphore.take();
  await expect(semaphore.take()).rejects.toThrow("too many are waiting");
  release();
  (await waiting)();
  expect(semaphore.isIdle).toBe(true);
});

test("a caller that gives up leaves the queue, and takes no slot", async () => {
  const semaphore = new Semaphore(1);
  const release = await semaphore.take();
  await expect(semaphore.take({ withinMs: 1, late })).rejects.toThrow("late");
  const next = semaphore.take({ withinMs: 60_000, late });
  release();
  (await next)();
  expect(semaphore.isIdle).toBe(true);
});

test("a slot that is released twice is free once", async () => {
  const semaphore = new Semaphore(1);
  const release = await semaphore.take();
  release();
  release();
  const again = await semaphore.take();
  await expect(semaphore.take({ withinMs: 1, late })).rejects.toThrow("late");
  again();
});
