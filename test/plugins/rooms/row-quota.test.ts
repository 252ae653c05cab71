/**
 * The row quota and the rate limit on room changes, over a fake store whose replies a test can delay. Concurrent
 * changes must not exceed either limit. Source: docs/protocol/limits.md.
 */
import { describe, expect, test } from "bun:test";
import type { RoomStore } from "../../../src/contracts/store.ts";
import { Pace } from "../../../src/plugins/rooms/pace.ts";
import { overdraftBytes, RowQuota } from "../../../src/plugins/rooms/row-quota.ts";
import { isUnibusError } from "../../../src/wire/errors.ts";

/** A store that only knows each payer's sum. */
function sums(stored: Map<string, number>, delay: () => Promise<unknown> = async () => undefined): RoomStore {
  const rowBytesOf = async (payer: string) => {
    const bytes = stored.get(payer) ?? 0;
    await delay();
    return bytes;
  };
  return { rowBytesOf } as unknown as RoomStore;
}

const outcome = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "done",
    (error: unknown) => (isUnibusError(error) ? error.code : String(error)),
  );

const of = (bytes: number, payer = "p") => new Map([[payer, bytes]]);

describe("the row quota", () => {
  test("admits exactly as many concurrent changes as fit", async () => {
    for (const before of [0, 300]) {
      const stored = of(before);
      const quota = new RowQuota(sums(stored), 1_000);
      const commit = async () => {
        await Bun.sleep(1);
        stored.set("p", (stored.get("p") ?? 0) + 100);
      };
      const at = () => outcome(quota.during(of(100), "grows", commit));
      const outcomes = await Promise.all(Array.from({ length: 25 }, at));
      expect(outcomes.filter((one) => one === "done")).toHaveLength((1_000 - before) / 100);
      expect(new Set(outcomes)).toEqual(new Set(["done", "quota"]));
      expect(stored.get("p")).toBe(1_000);
      expect(await at()).toBe("quota");
      expect(await outcome(quota.during(of(100, "other"), "grows", async () => undefined))).toBe("done");
    }
  });

  test("is not charged for a failed change; after a lost answer the stored rows are read again", async () => {
    const stored = of(0);
    const quota = new RowQuota(sums(stored), 100);
    const failing = async () => {
      throw new Error("lost");
    };
    for (let n = 0; n < 3; n++) expect(await outcome(quota.during(of(100), "grows", failing))).toBe("Error: lost");
    const unanswered = async () => {
      stored.set("p", 100);
      throw new Error("no answer");
    };
    expect(await outcome(quota.during(of(100), "grows", unanswered))).toBe("Error: no answer");
    expect(await outcome(quota.during(of(1), "grows", async () => undefined))).toBe("quota");
  });

  test("counts the rows of another node within two seconds, and frees removed rows at once", async () => {
    const stored = of(0);
    const quota = new RowQuota(sums(stored), 100);
    expect(await quota.fits(of(100))).toBe(true);
    stored.set("p", 100);
    const began = performance.now();
    while ((await quota.fits(of(100))) && performance.now() - began < 10_000) await Bun.sleep(20);
    expect(performance.now() - began).toBeLessThan(4_000);
    stored.set("p", 0);
    quota.forget();
    expect(await quota.fits(of(100))).toBe(true);
  });

  test("counts rows that are committed while the sum is read", async () => {
    const stored = of(0);
    let hold: Promise<unknown> = Promise.resolve();
    const quota = new RowQuota(
      sums(stored, () => hold),
      100,
    );
    const { promise, resolve } = Promise.withResolvers<void>();
    const first = quota.during(of(60), "grows", async () => {
      stored.set("p", 60);
      await promise;
    });
    await Bun.sleep(1);
    const read = Promise.withResolvers<void>();
    hold = read.promise;
    stored.set("p", 0);
    quota.forget();
    const second = outcome(quota.during(of(60), "grows", async () => undefined));
    await Bun.sleep(1);
    resolve();
    await first;
    stored.set("p", 60);
    read.resolve();
    expect(await second).toBe("quota");
  });

  test("may be overdrawn by removals, up to a limit; a payer over the quota can add nothing", async () => {
    const stored = of(1_000);
    const quota = new RowQuota(sums(stored), 1_000);
    const commit = async () => undefined;
    expect(await outcome(quota.during(of(1), "grows", commit))).toBe("quota");
    expect(await outcome(quota.during(of(overdraftBytes), "removes", commit))).toBe("done");
    expect(await outcome(quota.during(of(1), "removes", commit))).toBe("quota");
    expect(await outcome(quota.during(of(1), "grows", commit))).toBe("quota");
  });

  test("charges either all payers of a change or none", async () => {
    const stored = new Map([
      ["a", 0],
      ["b", 1_000],
    ]);
    const quota = new RowQuota(sums(stored), 1_000);
    const both = new Map([
      ["a", 600],
      ["b", 1],
    ]);
    expect(await outcome(quota.during(both, "grows", async () => undefined))).toBe("quota");
    expect(await outcome(quota.during(of(1_000, "a"), "grows", async () => undefined))).toBe("done");
  });
});

describe("the pace of a room", () => {
  test("is limited in any minute, for each room, and the error says when to try again", async () => {
    let now = 1_000_000;
    const pace = new Pace(3, () => now);
    const change = (room = "a") => outcome(pace.during(room, async () => undefined));
    for (let n = 0; n < 3; n++) {
      expect(await change()).toBe("done");
      now += 10_000;
    }
    expect(await change()).toBe("quota");
    expect(await change("b")).toBe("done");
    const error = await pace.during("a", async () => undefined).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      retryAfterS: 30,
      message: expect.stringMatching(/rooms\.statements_per_minute \(3\)/),
    });
    now += 30_000;
    expect([await change(), await change()]).toEqual(["done", "quota"]);
    now += 10_000;
    expect([await change(), await change()]).toEqual(["done", "quota"]);
  });

  test("counts the others as before when a change fails that began more than a minute ago", async () => {
    let now = 1_000_000;
    const pace = new Pace(2, () => now);
    const change = () => outcome(pace.during("a", async () => undefined));
    const { promise, reject } = Promise.withResolvers<void>();
    const slow = outcome(pace.during("a", () => promise));
    now += 60_001;
    expect([await change(), await change(), await change()]).toEqual(["done", "done", "quota"]);
    reject(new Error("too late"));
    expect(await slow).toBe("Error: too late");
    expect(await change()).toBe("quota");
  });

  test("admits exactly the limit of concurrent changes; failed ones do not count; 0 means unlimited", async () => {
    const pace = new Pace(5, () => 7);
    const failed = pace.during("a", async () => {
      throw new Error("lost");
    });
    expect(await outcome(failed)).toBe("Error: lost");
    const slow = () => outcome(pace.during("a", () => Bun.sleep(1)));
    const outcomes = await Promise.all(Array.from({ length: 20 }, slow));
    expect(outcomes.filter((one) => one === "done")).toHaveLength(5);
    const free = new Pace(0, () => 7);
    for (let n = 0; n < 100; n++) expect(await outcome(free.during("a", async () => undefined))).toBe("done");
  });
});
