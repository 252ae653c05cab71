/** Concurrent linearizable reads share one request to the leader, and only one that began after their call. */
import { expect, test } from "bun:test";
import { ReadIndex } from "../../../src/plugins/store-kv/linearizable/read-index.ts";
import { upTo } from "../../conformance/store-samples.ts";

const callers = 5_000;

test("concurrent callers share one request, and none gets an answer that was requested before its call", async () => {
  let moment = 0;
  let underWay = 0;
  const asked: number[] = [];
  const index = new ReadIndex(async () => {
    expect(++underWay).toBe(1);
    const at = ++moment;
    asked.push(at);
    await Bun.sleep(Math.random() * 3);
    underWay -= 1;
    return at;
  });
  const waits = upTo(callers).map(async () => {
    await Bun.sleep(Math.random() * 300);
    const came = ++moment;
    expect(await index.next()).toBeGreaterThan(came);
  });
  await Promise.all(waits);
  expect(asked.length).toBeLessThan(callers / 5);
});

test("callers of the same turn share the request that one of them starts", async () => {
  let asked = 0;
  const index = new ReadIndex(async () => ++asked);
  expect(await Promise.all(upTo(10).map(() => index.next()))).toEqual(upTo(10).map(() => 1));
  expect(await index.next()).toBe(2);
});

test("a request that fails does so for the callers who share it, and for no later one", async () => {
  let asked = 0;
  const index = new ReadIndex(async () => {
    if (++asked === 1) throw new Error("no answer");
    return asked;
  });
  const outcomes = await Promise.allSettled([index.next(), index.next()]);
  expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(await index.next()).toBe(2);
});
