/** Progress of one reader in a room: each frame is read once, although history and live frames overlap. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { FrameMemory } from "../../src/client/rooms/frame-memory.ts";
import { ReaderProgress } from "../../src/client/rooms/reader-progress.ts";
import type { DeliveredFrame } from "../../src/client/rooms/room-subscription.ts";
import type { Frame } from "../../src/wire/frame.ts";

const frameOf = (number: number): Frame => ({ from: "ana", id: String(number) }) as Frame;
const live = (memory: FrameMemory, number: number, upTo = 0): DeliveredFrame => {
  const position = memory.add(frameOf(number));
  if (position === null) throw new Error("delivered twice");
  return { received: { frame: frameOf(number) }, position, upTo } as DeliveredFrame;
};

test("the dedup memory knows each frame once, by its sender and id", () => {
  const memory = new FrameMemory();
  expect([memory.add(frameOf(7)), memory.add(frameOf(7)), memory.add(frameOf(8))]).toEqual([0, null, 1]);
  expect([memory.positionOf(frameOf(8)), memory.positionOf(frameOf(9)), memory.next]).toEqual([1, null, 2]);
  expect(memory.add({ ...frameOf(7), from: "bob" })).toBe(2);
});

test("the dedup memory forgets the oldest frames beyond 65,536", () => {
  const memory = new FrameMemory();
  for (let number = 0; number <= 65_536; number++) memory.add(frameOf(number));
  expect([memory.positionOf(frameOf(0)), memory.positionOf(frameOf(1))]).toEqual([null, 1]);
});

test("a reader from now on does not receive frames delivered before it started", () => {
  const memory = new FrameMemory();
  live(memory, 1);
  const [news, all] = [new ReaderProgress(memory, 10, false), new ReaderProgress(memory, 10, true)];
  expect([news.addRead(frameOf(1)), all.addRead(frameOf(1))]).toEqual([false, true]);
  expect([all.addRead(frameOf(1)), news.addRead(frameOf(2))]).toEqual([false, true]);
});

/**
 * A stream of `total` frames, in the order of storage. Frames before `start` are stored before the reader comes. The
 * others are delivered to it in a slightly different order, through a queue that loses its contents now and then;
 * whenever it does, the reader reads the history from where it surely has everything.
 */
test("each frame is read once, whatever the queue loses and however history and live frames overlap", () => {
  const total = 60;
  const runs = fc.record({
    start: fc.nat(total),
    wantsOlder: fc.boolean(),
    swaps: fc.uniqueArray(fc.nat(total - 2), { maxLength: 20 }),
    lapses: fc.uniqueArray(fc.nat(total), { maxLength: 8 }),
    lag: fc.nat(6),
  });
  fc.assert(
    fc.property(runs, ({ start, wantsOlder, swaps, lapses, lag }) => {
      const memory = new FrameMemory();
      const order = Array.from({ length: total }, (_, number) => number);
      for (const at of swaps) {
        if (at < start) continue;
        [order[at], order[at + 1]] = [order[at + 1] as number, order[at] as number];
      }
      for (const number of order.slice(0, start)) memory.add(frameOf(number));
      const progress = new ReaderProgress(memory, 1_000, wantsOlder);
      const got: number[] = [];
      const read = (from: number, to: number): void => {
        for (let number = from; number < to; number++) if (progress.addRead(frameOf(number))) got.push(number);
        progress.readUpTo(to);
      };
      const queue: DeliveredFrame[] = [];
      // A sequence number is one more than the frame's number. Everything up to `place` was delivered to the reader.
      let place = Math.max(0, start - lag);
      if (wantsOlder) {
        read(0, start);
        place = start;
      }
      let safe = start;
      for (let at = start; at < total; at++) {
        // The subscription's mark lags behind what was delivered.
        const before = new Set(order.slice(0, at));
        while (safe + lag < at && before.has(safe)) safe += 1;
        queue.push(live(memory, order[at] as number, safe));
        if (lapses.includes(at)) {
          queue.length = 0;
          // What was delivered before is taken to be stored by then.
          const delivered = Math.max(...order.slice(0, at + 1)) + 1;
          const stored = Math.min(total, Math.max(at + 3, delivered));
          read(place, stored);
          place = Math.max(place, stored);
        } else if (at % 3 !== 0) {
          for (const delivered of queue.splice(0)) {
            if (progress.addLive(delivered)) got.push(Number(delivered.received.frame.id));
            place = Math.max(place, delivered.upTo);
          }
        }
      }
      for (const delivered of queue.splice(0))
        if (progress.addLive(delivered)) got.push(Number(delivered.received.frame.id));
      expect(got.sort((a, b) => a - b)).toEqual(order.map((_, n) => n).slice(wantsOlder ? 0 : start));
    }),
  );
});
