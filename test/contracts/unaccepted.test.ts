/**
 * The limit on unaccepted memberships: strangers cannot flood a user, and cannot block other users from adding them.
 */
import { expect, test } from "bun:test";
import { isOverUnaccepted, unacceptedLimits } from "../../src/contracts/unaccepted.ts";

const isOver = (all: number, ofAdder: number, adders: number): boolean =>
  isOverUnaccepted({ all, ofAdder, adders }, unacceptedLimits);

test("one adder has at most 100 unaccepted memberships with one user", () => {
  expect([isOver(99, 99, 1), isOver(100, 100, 1), isOver(5_000, 99, 80), isOver(5_000, 100, 80)]).toEqual([
    ...[false, true, false, true],
  ]);
});

test("beyond 10,000 unaccepted memberships no adder has more than an equal share of 10,000", () => {
  // 500 adders: 20 each.
  expect([isOver(9_999, 99, 500), isOver(10_000, 19, 500), isOver(10_000, 20, 500)]).toEqual([false, false, true]);
  expect([isOver(19_999, 1, 10_000), isOver(19_999, 1, 9_999)]).toEqual([true, false]);
});

test("an adder without unaccepted memberships with the user can add, however many others have", () => {
  for (const adders of [1, 500, 10_000, 1_000_000]) expect(isOver(1_000_000, 0, adders)).toBe(false);
});
