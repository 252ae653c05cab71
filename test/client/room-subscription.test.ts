/** The live subscription of a room: what waits when a gap comes is delivered before the gap is filled. */
import { expect, test } from "bun:test";
import { FrameMemory } from "../../src/client/rooms/frame-memory.ts";
import type { Received } from "../../src/client/rooms/receiver.ts";
import { type DeliveredFrame, RoomSubscription } from "../../src/client/rooms/room-subscription.ts";
import { toBase64 } from "../../src/wire/encoding.ts";
import { encodeFrame, type Frame } from "../../src/wire/frame.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import { until } from "../support/executable.ts";

const from = "Vkdap1RjR0wCd9dvyvKtz2mVUQm9dLw6yTg7Y2rHcIw";
const frameOf = (number: number): Frame => ({ t: 0, s: "room.a", from, id: newUlid(1_000 + number), e: 1, p: "AAAA" });

/** A room's stream, and a subscription to it whose connection the test breaks and restores. */
class Stream implements Disposable {
  readonly stored: Frame[] = [];
  readonly delivered: DeliveredFrame[] = [];
  readonly subscription: RoomSubscription;
  /** Holds the opening of live messages until it resolves. */
  opened: Promise<void> = Promise.resolve();
  connection = 1;
  readonly #stop = new AbortController();

  constructor() {
    const memory = new FrameMemory();
    const receiver = {
      memory,
      knows: (frame: Frame) => memory.positionOf(frame) !== null,
      drop: () => undefined,
      open: async (frame: Frame, origin: string): Promise<Received> => {
        if (origin === "live") await this.opened;
        return { frame } as never;
      },
    };
    const control = {
      history: async (_: string, { after, limit }: { readonly after?: number; readonly limit: number }) => {
        const start = after ?? Math.max(0, this.stored.length - limit);
        const messages = this.stored.slice(start).map((frame) => toBase64(encodeFrame(frame)));
        return {
          messages,
          first_seq: start + 1,
          last_seq: messages.length === 0 ? 0 : this.stored.length,
          more: false,
        };
      },
    };
    this.subscription = new RoomSubscription({
      ...{ roomId: "room", persist: true, receiver: receiver as never, control: control as never },
      signal: this.#stop.signal,
      onDelivered: (delivered) => this.delivered.push(delivered),
      onLost: () => undefined,
      onTrouble: () => undefined,
    });
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
  }

  /** Stores a message, and delivers it live if there is a connection. */
  publish(number: number, isLive = true): void {
    const frame = frameOf(number);
    this.stored.push(frame);
    if (isLive) this.subscription.take({ data: encodeFrame(frame), frame, connection: this.connection } as never);
  }

  numbers(): number[] {
    return this.delivered.map(({ received }) => this.stored.findIndex(({ id }) => id === received.frame.id));
  }
}

test("messages that wait when the connection breaks are delivered before what it missed", async () => {
  using stream = new Stream();
  const { promise, resolve } = Promise.withResolvers<void>();
  stream.opened = promise;
  // They arrive before the start is known, and are stored by then: no gap is read from before the start.
  for (const number of [0, 1, 2]) stream.publish(number);
  await stream.subscription.begin();
  stream.subscription.away();
  for (const number of [3, 4]) stream.publish(number, false);
  stream.connection = 2;
  stream.subscription.back();
  stream.publish(5);
  resolve();
  await until("all are delivered", () => stream.delivered.length === 6);
  expect(stream.numbers()).toEqual([0, 1, 2, 3, 4, 5]);
  // A reader forgets by `upTo` what it has read: no message up to there may come later.
  for (const [at, { upTo }] of stream.delivered.entries()) expect(upTo).toBeLessThanOrEqual(at);
});
