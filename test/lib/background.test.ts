/** Waiting for background work at shutdown. */
import { expect, test } from "bun:test";
import { Background } from "../../src/lib/background.ts";

test("settled waits for running work, failed or not, up to its timeout", async () => {
  const background = new Background();
  await background.settled(60_000);
  const done: string[] = [];
  const gates = ["a", "b"].map((name) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    return { name, promise, resolve };
  });
  background.add(gates[0]?.promise.then(() => done.push("a")) ?? Promise.resolve());
  background.add(Promise.reject(new Error("its own affair")));
  const waiting = background.settled(60_000).then(() => done.push("settled"));
  gates[0]?.resolve();
  await waiting;
  expect(done).toEqual(["a", "settled"]);
  background.add(gates[1]?.promise ?? Promise.resolve());
  await background.settled(5);
  gates[1]?.resolve();
  await background.settled(60_000);
});
