import { expect, test } from "bun:test";
import { TurnBatch } from "../../src/lib/turn-batch.ts";

test("hands on together what was added in one turn, in batches of the maximum", async () => {
  const batches: (readonly number[])[] = [];
  const batch = new TurnBatch<number>(3, (values) => batches.push(values));
  for (const value of [1, 2, 3, 4]) batch.add(value);
  // Work that promises continue belongs to the same turn.
  await Promise.resolve();
  batch.add(5);
  expect(batches).toEqual([[1, 2, 3]]);
  await new Promise((resolve) => setTimeout(resolve));
  expect(batches).toEqual([
    [1, 2, 3],
    [4, 5],
  ]);
  batch.add(6);
  batch.flush();
  batch.flush();
  expect(batches.at(-1)).toEqual([6]);
});
