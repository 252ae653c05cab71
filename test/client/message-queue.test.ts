/** The message queue of one reader: bounded, and no single sender can end it or fill it. */
import { describe, expect, test } from "bun:test";
import { lapsed, MessageQueue } from "../../src/client/rooms/message-queue.ts";
import type { DeliveredFrame } from "../../src/client/rooms/room-subscription.ts";

const delivered = (from: string, number: number, bytes = 1): DeliveredFrame =>
  ({ received: { frame: { from, id: String(number) }, payload: new Uint8Array(bytes) }, upTo: 0 }) as never;

/** The remaining messages of a queue, as `sender number`. */
async function rest(queue: MessageQueue): Promise<string[]> {
  queue.end();
  const got: string[] = [];
  for (let next = await queue.next(); next !== null; next = await queue.next()) {
    got.push(next === lapsed ? "lapsed" : `${next.received.frame.from} ${next.received.frame.id}`);
  }
  return got;
}

describe("a queue that drops messages", () => {
  test("drops those of the sender with the most waiting, oldest first, and reports it", async () => {
    let drops = 0;
    const queue = new MessageQueue(10, "drop", () => {
      drops += 1;
    });
    queue.push(delivered("ana", 0));
    for (let i = 0; i < 100; i++) queue.push(delivered("flood", i));
    queue.push(delivered("bob", 0));
    const got = await rest(queue);
    expect(got.length).toBeLessThanOrEqual(10);
    expect([got[0], got.at(-2), got.at(-1)]).toEqual(["ana 0", "flood 99", "bob 0"]);
    expect(drops).toBeGreaterThan(0);
    expect(drops).toBeLessThan(40);
  });

  test("drops the oldest of all if each sender has one", async () => {
    const queue = new MessageQueue(3, "drop");
    for (let i = 0; i < 6; i++) queue.push(delivered(`m${i}`, i));
    expect(await rest(queue)).toEqual(["m3 3", "m4 4", "m5 5"]);
  });

  test("is limited in bytes, too, and then drops from the sender with the most bytes", async () => {
    const queue = new MessageQueue(1_000, "drop");
    for (let i = 0; i < 50; i++) queue.push(delivered("small", i));
    for (let i = 0; i < 200; i++) queue.push(delivered("large", i, 1_048_576));
    const got = await rest(queue);
    expect(got.filter((one) => one.startsWith("small"))).toHaveLength(50);
    expect(got.filter((one) => one.startsWith("large")).length).toBeLessThanOrEqual(64);
    expect(got.at(-1)).toBe("large 199");
  });
});

describe("a queue that lapses", () => {
  test("skips the excess, reports it once before the following message, and never ends", async () => {
    const queue = new MessageQueue(3, "lapse");
    for (let i = 0; i < 5; i++) queue.push(delivered("ana", i));
    expect(queue.isEnded).toBe(false);
    expect(await rest(queue)).toEqual(["lapsed", "ana 3", "ana 4"]);
  });

  test("wakes a waiting reader", async () => {
    const queue = new MessageQueue(1, "lapse");
    const first = queue.next();
    queue.push(delivered("ana", 0));
    queue.push(delivered("ana", 1));
    expect(await first).toBe(lapsed);
  });
});
