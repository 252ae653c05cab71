/** The message queue of one reader: bounded, and no single sender can end it or fill it. */
import { describe, expect, test } from "bun:test";
import { lapsed, MessageQueue } from "../../src/client/rooms/message-queue.ts";
import type { DeliveredFrame } from "../../src/client/rooms/room-subscription.ts";

const told = (from: string, number: number, bytes = 1): DeliveredFrame =>
  ({ received: { frame: { from, id: String(number) }, payload: new Uint8Array(bytes) }, upTo: 0 }) as never;

/** The remaining messages of a queue, as `sender number`. */
async function rest(feed: MessageQueue): Promise<string[]> {
  feed.end();
  const got: string[] = [];
  for (let next = await feed.next(); next !== null; next = await feed.next()) {
    got.push(next === lapsed ? "lapsed" : `${next.received.frame.from} ${next.received.frame.id}`);
  }
  return got;
}

describe("a feed that drops", () => {
  test("drops of the sender who has the most waiting, the oldest first, and says so", async () => {
    let drops = 0;
    const feed = new MessageQueue(10, "drop", () => {
      drops += 1;
    });
    feed.push(told("ana", 0));
    for (let i = 0; i < 100; i++) feed.push(told("flood", i));
    feed.push(told("bob", 0));
    const got = await rest(feed);
    expect(got.length).toBeLessThanOrEqual(10);
    expect([got[0], got.at(-2), got.at(-1)]).toEqual(["ana 0", "flood 99", "bob 0"]);
    expect(drops).toBeGreaterThan(0);
    expect(drops).toBeLessThan(40);
  });

  test("drops the oldest of all where each sender has one", async () => {
    const feed = new MessageQueue(3, "drop");
    for (let i = 0; i < 6; i++) feed.push(told(`m${i}`, i));
    expect(await rest(feed)).toEqual(["m3 3", "m4 4", "m5 5"]);
  });

  test("is bounded in bytes, too, and then the sender of the most bytes loses", async () => {
    const feed = new MessageQueue(1_000, "drop");
    for (let i = 0; i < 50; i++) feed.push(told("small", i));
    for (let i = 0; i < 200; i++) feed.push(told("large", i, 1_048_576));
    const got = await rest(feed);
    expect(got.filter((one) => one.startsWith("small"))).toHaveLength(50);
    expect(got.filter((one) => one.startsWith("large")).length).toBeLessThanOrEqual(64);
    expect(got.at(-1)).toBe("large 199");
  });
});

describe("a feed that lapses", () => {
  test("leaves out what is too much, says so once before what came after, and never ends", async () => {
    const feed = new MessageQueue(3, "lapse");
    for (let i = 0; i < 5; i++) feed.push(told("ana", i));
    expect(feed.isEnded).toBe(false);
    expect(await rest(feed)).toEqual(["lapsed", "ana 3", "ana 4"]);
  });

  test("wakes a reader that waits", async () => {
    const feed = new MessageQueue(1, "lapse");
    const first = feed.next();
    feed.push(told("ana", 0));
    feed.push(told("ana", 1));
    expect(await first).toBe(lapsed);
  });
});
