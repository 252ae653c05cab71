/** The share of main-thread time that one user's reads may take. Source: docs/protocol/limits.md. */
import { afterEach, describe, expect, test } from "bun:test";
import { costTable, UserShare } from "../../src/contracts/user-share.ts";
import { isUnibusError } from "../../src/wire/errors.ts";

const mib = 1_048_576;
/** Size of a list that costs `ms` milliseconds, in bytes. */
const bytesFor = (ms: number): number => ((ms - costTable.list.baseMs) / costTable.list.mibMs) * mib;

let late = true;
const open: UserShare[] = [];
/** A share of 1 s in every 10 s. */
function shareOf(): UserShare {
  const share = new UserShare({ share: 0.1, isLate: () => late });
  open.push(share);
  return share;
}
afterEach(() => {
  late = true;
  for (const share of open.splice(0)) share.close();
});

/** Charges a user for `ms` milliseconds. */
async function spend(share: UserShare, user: string, ms: number): Promise<void> {
  const before = late;
  late = false;
  (await share.admit(user, "list"))(bytesFor(ms));
  late = before;
}

type Outcome = "done" | "waits" | number;
/** The state of a read after a short time: done, waiting, or refused with the seconds to wait. */
async function outcome(read: Promise<unknown>, ms = 100): Promise<Outcome> {
  const failed = (error: unknown): number => {
    if (isUnibusError(error) && error.code === "rate_limited") return error.retryAfterS ?? 0;
    throw error;
  };
  return Promise.race([read.then(() => "done" as const, failed), Bun.sleep(ms).then(() => "waits" as const)]);
}

describe("while the event loop is late", () => {
  test("a user within the share proceeds, one beyond it waits and is then refused", async () => {
    const share = shareOf();
    await spend(share, "small", 900);
    await spend(share, "large", 1_100);
    expect(await outcome(share.admit("small", "key"))).toBe("done");
    expect(await outcome(share.admit("stranger", "history"))).toBe("done");
    const read = share.admit("large", "key");
    expect(await outcome(read)).toBe("waits");
    const refused = await outcome(read, 5_000);
    expect(refused).toBeGreaterThanOrEqual(1);
    expect(refused).toBeLessThanOrEqual(10);
  });

  test("reads are charged in advance with the cost of the last one, so that concurrent ones count", async () => {
    const share = shareOf();
    await spend(share, "many", 300);
    const reads = Array.from({ length: 8 }, () => outcome(share.admit("many", "list")));
    const done = (await Promise.all(reads)).filter((one) => one === "done");
    expect(done).toHaveLength(3);
  });

  test("when too many wait, the largest spender is refused first", async () => {
    const share = shareOf();
    await spend(share, "larger", 5_000);
    await spend(share, "large", 2_000);
    const first = share.admit("larger", "key");
    const others = Array.from({ length: 64 }, () => share.admit("large", "key"));
    expect(await outcome(first, 1_000)).toBeGreaterThanOrEqual(1);
    expect(await outcome(Promise.any(others))).toBe("waits");
    for (const one of others) one.catch(() => undefined);
  });
});

describe("while the event loop is on time", () => {
  test("no user waits, whatever they spent", async () => {
    const share = shareOf();
    late = false;
    for (let i = 0; i < 20; i++) {
      const read = share.admit("large", "history");
      expect(await outcome(read)).toBe("done");
      (await read)(100 * mib);
    }
  });

  test("waiting requests continue, the smallest spender first", async () => {
    const share = shareOf();
    await spend(share, "larger", 5_000);
    await spend(share, "large", 2_000);
    const order: string[] = [];
    const waiting = ["larger", "large"].map(async (user) => {
      await share.admit(user, "key");
      order.push(user);
    });
    expect(await outcome(Promise.any(waiting))).toBe("waits");
    late = false;
    await Promise.all(waiting);
    expect(order).toEqual(["large", "larger"]);
  });

  test("work that blocks the event loop marks it as late for a moment", async () => {
    const share = new UserShare({ share: 0.1 });
    open.push(share);
    (await share.admit("large", "list"))(bytesFor(2_000));
    const block = (ms: number) => {
      const end = performance.now() + ms;
      while (performance.now() < end);
    };
    // Under load the event loop may be late anyway; blocking it makes that certain.
    block(100);
    const read = share.admit("large", "key");
    expect(await outcome(read, 1)).toBe("waits");
    expect(await outcome(read, 30_000)).not.toBe("waits");
  });
});
