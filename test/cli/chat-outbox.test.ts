/** What a chat sends waits for the connection, in order, is sent once, and is bounded. */
import { describe, expect, test } from "bun:test";
import { Outbox } from "../../src/cli/peer/chat-outbox.ts";
import { UnibusError } from "../../src/wire/errors.ts";

/** An outbox whose connection can break, and a record of what it does. */
function outboxOf() {
  const log: string[] = [];
  const link = { isAway: false };
  const ending = new AbortController();
  const outbox = new Outbox({
    isAway: () => link.isAway,
    onWaiting: () => log.push("waiting"),
    onSent: (count) => log.push(`all ${count} sent`),
    onRefused: ({ typed }, error) => log.push(`refused ${typed}: ${(error as Error).message}`),
    signal: ending.signal,
  });
  const say = (typed: string, send = async (): Promise<unknown> => undefined) =>
    outbox.add({ typed, send: () => send().then(() => void log.push(typed)) });
  const back = () => {
    link.isAway = false;
    outbox.wake();
  };
  return { outbox, log, link, ending, say, back };
}

describe("an outbox", () => {
  test("sends in order, one after another, and reports nothing while there is a connection", async () => {
    const { outbox, log, say } = outboxOf();
    const first = Promise.withResolvers<void>();
    say("one", () => first.promise);
    say("two");
    expect([log, outbox.size, outbox.isWaiting]).toEqual([[], 2, false]);
    first.resolve();
    await outbox.empty();
    expect(log).toEqual(["one", "two"]);
  });

  test("waits for the connection, says so once, and sends everything once it is back", async () => {
    const { outbox, log, link, say, back } = outboxOf();
    link.isAway = true;
    say("one");
    say("two");
    expect([log, outbox.unsent]).toEqual([["waiting"], ["one", "two"]]);
    back();
    await outbox.empty();
    expect(log).toEqual(["waiting", "one", "two", "all 2 sent"]);
    say("three");
    await outbox.empty();
    expect(log.slice(4)).toEqual(["three"]);
  });

  test("something that is being sent when the connection breaks is not sent again", async () => {
    const { outbox, log, link, say, back } = outboxOf();
    const acked = Promise.withResolvers<void>();
    let attempts = 0;
    say("one", () => {
      attempts += 1;
      return acked.promise;
    });
    link.isAway = true;
    outbox.wake();
    say("two");
    expect(log).toEqual(["waiting"]);
    back();
    acked.resolve();
    await outbox.empty();
    expect([attempts, log]).toEqual([1, ["waiting", "one", "two", "all 2 sent"]]);
  });

  test("tries again only what was certainly not sent", async () => {
    const { outbox, log, say } = outboxOf();
    const errors = [new UnibusError("unavailable", "no answer"), new UnibusError("timeout", "no ack")];
    const attempts: string[] = [];
    say("one", async () => {
      attempts.push("one");
      const error = errors.shift();
      if (error !== undefined) throw error;
    });
    say("two");
    await outbox.empty();
    expect(attempts).toEqual(["one", "one"]);
    expect(log).toEqual(["waiting", "refused one: no ack", "two", "all 1 sent"]);
  });

  test("keeps what is not sent when the chat ends", async () => {
    const { outbox, log, ending, say } = outboxOf();
    say(
      "one",
      () => new Promise((_, reject) => ending.signal.addEventListener("abort", () => reject(new Error("end")))),
    );
    say("two");
    ending.abort();
    await Promise.resolve();
    await outbox.settled();
    expect([outbox.unsent, log, outbox.isFirstUncertain]).toEqual([["one", "two"], [], true]);
  });

  test("sends what is added the moment that it becomes empty", async () => {
    const { outbox, log, say } = outboxOf();
    say("one");
    await outbox.less();
    say("two");
    await outbox.less();
    say("three");
    await outbox.empty();
    expect(log).toEqual(["one", "two", "three"]);
  });

  test("is bounded", () => {
    const { outbox, link, say } = outboxOf();
    link.isAway = true;
    for (let i = 0; i < 200; i++) {
      expect(outbox.hasRoom).toBe(true);
      say(`line ${i}`);
    }
    expect(outbox.hasRoom).toBe(false);
    const large = outboxOf();
    large.link.isAway = true;
    large.say("x".repeat(4_194_304));
    expect(large.outbox.hasRoom).toBe(false);
  });
});
