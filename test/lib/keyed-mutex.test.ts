/** A mutex for each key. */
import { expect, test } from "bun:test";
import { KeyedMutex } from "../../src/lib/keyed-mutex.ts";

test("work for one key runs in order, one at a time, also after a failure; other keys do not wait", async () => {
  const mutex = new KeyedMutex();
  const log: string[] = [];
  const held = Promise.withResolvers<void>();
  const work = (name: string, wait?: Promise<void>) => async () => {
    log.push(`${name} begins`);
    await wait;
    log.push(`${name} ends`);
    if (name === "b") throw new Error("b fails");
    return name;
  };
  const all = [
    mutex.hold("x", work("a", held.promise)),
    mutex.hold("x", work("b")).catch((error: Error) => error.message),
    mutex.hold("x", work("c")),
    mutex.hold("y", work("d")),
  ];
  expect(await all[3]).toBe("d");
  held.resolve();
  expect(await Promise.all(all)).toEqual(["a", "b fails", "c", "d"]);
  const order = ["a begins", "d begins", "d ends", "a ends", "b begins", "b ends", "c begins", "c ends"];
  expect(log).toEqual(order);
});

test("work that throws synchronously rejects for its caller, and does not block the next", async () => {
  const mutex = new KeyedMutex();
  const failing = mutex.hold("x", () => {
    throw new Error("at once");
  });
  expect(await failing.catch((error: Error) => error.message)).toBe("at once");
  expect(await mutex.hold("x", async () => 1)).toBe(1);
});
