import { expect, test } from "bun:test";
import { sideBySide } from "../../src/lib/side-by-side.ts";

test("keeps the order of the items, and works on 64 of them at most at once", async () => {
  let [running, most] = [0, 0];
  const items = Array.from({ length: 300 }, (_, index) => index);
  const results = await sideBySide(items, async (item) => {
    running += 1;
    most = Math.max(most, running);
    for (let turns = 0; turns <= item % 7; turns++) await Promise.resolve();
    running -= 1;
    return item * 2;
  });
  expect(results).toEqual(items.map((item) => item * 2));
  expect(most).toBe(64);
});

test("fails with the first error", async () => {
  const work = async (item: number): Promise<number> => {
    if (item === 2) throw new Error("two");
    return item;
  };
  await expect(sideBySide([1, 2, 3], work)).rejects.toThrow("two");
});
