/** A replacement for Map.groupBy, which Node 20 lacks. */
import { expect, test } from "bun:test";
import { groupBy } from "../../src/lib/group-by.ts";

test("items are grouped as Map.groupBy does it", () => {
  const items = ["a1", "b1", "a2", "c1", "b2"];
  expect(groupBy(items, (item) => item[0])).toEqual(Map.groupBy(items, (item) => item[0]));
  expect(groupBy([], String)).toEqual(new Map());
});
