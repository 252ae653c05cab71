/** A set of keys that is read in order, in pages. */
import { expect, test } from "bun:test";
import { SortedKeys } from "../../src/lib/sorted-keys.ts";

test("pages are ascending, whether keys came or went before the first page or after it", () => {
  const keys = new SortedKeys();
  for (const key of ["d", "b", "b", "x"]) keys.add(key);
  keys.delete("x");
  expect(keys.page(null, 10)).toEqual(["b", "d"]);
  for (const key of ["a", "c", "e", "c"]) keys.add(key);
  for (const key of ["d", "d", "y"]) keys.delete(key);
  expect(keys.page(null, 10)).toEqual(["a", "b", "c", "e"]);
  expect(keys.page("a", 2)).toEqual(["b", "c"]);
  // A cursor need not be a key any more.
  expect(keys.page("d", 2)).toEqual(["e"]);
  expect(keys.page("e", 2)).toEqual([]);
});
