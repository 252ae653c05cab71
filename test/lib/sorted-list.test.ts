/** A list that stays sorted: compared with a plain array, over random changes that make and remove many blocks. */
import { expect, test } from "bun:test";
import { SortedList } from "../../src/lib/sorted-list.ts";

const compare = (one: number, other: number): number => one - other;

/** The numbers from 0 in an order that is neither ascending nor random. */
const mixed = (count: number): number[] => Array.from({ length: count }, (_, at) => (at * 7_919) % count);

test("added in any order, removed in any order, it is sorted and has no duplicates", () => {
  const list = new SortedList<number>(compare);
  const count = 3_001;
  for (const value of mixed(count)) expect(list.add(value)).toBe(true);
  expect(list.add(1_500)).toBe(false);
  expect([...list]).toEqual(Array.from({ length: count }, (_, at) => at));
  expect([list.first, list.last, list.size, list.indexOf(2_000), list.indexOf(count)]).toEqual([
    0,
    3_000,
    count,
    2_000,
    -1,
  ]);
  for (const value of mixed(count)) if (value % 3 !== 0) expect(list.remove(value)).toBe(true);
  expect(list.remove(1)).toBe(false);
  expect([...list]).toEqual(Array.from({ length: 1_001 }, (_, at) => 3 * at));
  expect(list.indexOf(999)).toBe(333);
  for (const value of [...list]) list.remove(value);
  expect([list.size, list.first, list.last, list.indexOf(3)]).toEqual([0, undefined, undefined, -1]);
});

test("a slice is what the same slice of an array is", () => {
  for (const order of [(one: number) => one, (one: number) => 1_999 - one]) {
    const list = new SortedList<number>(compare);
    for (let at = 0; at < 2_000; at++) list.add(order(at));
    const all = [...list];
    for (const [start, end] of [
      [0, 2_000],
      [0, 1],
      [511, 513],
      [700, 1_900],
      [1_999, 2_005],
      [2_000, 2_001],
    ] as const)
      expect(list.slice(start, end)).toEqual(all.slice(start, end));
  }
});

test("values with ranks are ordered by rank, then by comparison, and found by both", () => {
  const tenth = (value: number): number => Math.floor(value / 10);
  const list = new SortedList<number>(compare, tenth);
  const count = 3_001;
  for (const value of mixed(count)) expect(list.add(value)).toBe(true);
  for (const value of [0, 1_500, 3_000]) expect(list.add(value)).toBe(false);
  expect([...list]).toEqual(Array.from({ length: count }, (_, at) => at));
  for (const value of mixed(count)) if (value % 3 !== 0) expect(list.remove(value)).toBe(true);
  expect([...list]).toEqual(Array.from({ length: 1_001 }, (_, at) => 3 * at));
  expect([list.remove(1), list.indexOf(999), list.indexOf(1_000), list.add(1_000)]).toEqual([false, 333, -1, true]);
  expect(list.slice(333, 336)).toEqual([999, 1_000, 1_002]);
});
