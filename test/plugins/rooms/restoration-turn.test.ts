/** Only one restoration runs at a time, and a user whose restoration blocked the others in vain must wait. */
import { afterEach, beforeEach, expect, spyOn, test } from "bun:test";
import type { Caller } from "../../../src/contracts/auth.ts";
import { RestorationTurn } from "../../../src/plugins/rooms/way-back/turn.ts";
import { isUnibusError } from "../../../src/wire/errors.ts";

/** The mocked monotonic clock, in milliseconds. */
let nowMs = 1_000_000;
let clock: ReturnType<typeof spyOn>;

beforeEach(() => {
  clock = spyOn(performance, "now").mockImplementation(() => nowMs);
});
afterEach(() => clock.mockRestore());

const callerOf = (endpoint: string) => ({ endpoint }) as Caller;

/** Runs one restoration that takes `tookMs`. Returns done, the error message, or the seconds until a retry. */
async function outcome(turn: RestorationTurn, name: string, tookMs: number, fails = false): Promise<unknown> {
  try {
    return await turn.take(callerOf(name), async () => {
      nowMs += tookMs;
      if (fails) throw new Error("failed");
      return "done";
    });
  } catch (error) {
    return isUnibusError(error) ? error.retryAfterS : (error as Error).message;
  }
}

test("while one restoration runs every other one is refused", async () => {
  const turn = new RestorationTurn();
  const { promise, resolve } = Promise.withResolvers<void>();
  const first = turn.take(callerOf("ana"), () => promise);
  expect([await outcome(turn, "bob", 0), await outcome(turn, "ana", 0)]).toEqual([5, 5]);
  resolve();
  await first;
  expect(await outcome(turn, "bob", 0)).toBe("done");
});

test("a user whose restoration failed after over 10 seconds must wait twice as long; others need not", async () => {
  const turn = new RestorationTurn();
  expect(await outcome(turn, "ana", 60_000, true)).toBe("failed");
  expect([await outcome(turn, "ana", 0), await outcome(turn, "bob", 0)]).toEqual([120, "done"]);
  nowMs += 119_000;
  expect(await outcome(turn, "ana", 0)).toBe(5);
  nowMs += 1_000;
  expect(await outcome(turn, "ana", 0)).toBe("done");
});

test("after a quick failure the user can try again at once, and the longest wait is five minutes", async () => {
  const turn = new RestorationTurn();
  expect([await outcome(turn, "ana", 9_999, true), await outcome(turn, "ana", 0)]).toEqual(["failed", "done"]);
  expect([await outcome(turn, "ana", 3_600_000, true), await outcome(turn, "ana", 0)]).toEqual(["failed", 300]);
});
