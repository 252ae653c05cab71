/** A cache of bounded size that evicts the least recently used entry. */
import { expect, test } from "bun:test";
import { LruCache } from "../../src/lib/lru-cache.ts";

test("the least recently used entry is evicted first, and the size is bounded", () => {
  const recent = new LruCache<string>(10);
  for (const name of ["a", "b"]) recent.set(name, name, 4);
  expect(recent.get("a")).toBe("a");
  recent.set("c", "c", 4);
  expect(["a", "b", "c"].map((name) => recent.has(name))).toEqual([true, false, true]);
  recent.set("a", "larger", 7);
  expect([recent.get("a"), recent.get("c")]).toEqual(["larger", undefined]);
  recent.set("d", "too large", 11);
  expect(["a", "d"].map((name) => recent.has(name))).toEqual([false, false]);
  recent.set("e", "e", 10);
  recent.clear();
  recent.set("f", "f", 10);
  recent.delete("f");
  expect(recent.get("f")).toBeUndefined();
});
