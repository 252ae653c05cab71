/** Compare-and-set changes of the KV store start from a cached value, which may be stale: no update may get lost. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { JetStream } from "../../../src/nats/jetstream.ts";
import { Bucket } from "../../../src/plugins/store-kv/bucket.ts";
import { storeErrors } from "../../../src/plugins/store-kv/errors.ts";
import { buckets } from "../../../src/wire/names.ts";
import { upTo } from "../../conformance/store-samples.ts";
import { ConnectionInterceptor } from "./connection-interceptor.ts";
import { KvServer } from "./server.ts";

let server: KvServer;
beforeAll(async () => {
  server = await KvServer.start(4);
});
afterAll(() => server[Symbol.asyncDispose]());

/** A list of numbers opened by two processes, with the interceptor of the first. */
async function two() {
  const account = server.freshAccount();
  await server.store(account);
  const interceptor = new ConnectionInterceptor();
  const options = { prefix: "list.", recalls: true };
  const listOf = (js: JetStream) => new Bucket<readonly number[]>(js, buckets.users, options);
  const mine = listOf(new JetStream(interceptor.wrap(await server.connection(account)), storeErrors));
  return { interceptor, mine, theirs: listOf(new JetStream(await server.connection(account), storeErrors)) };
}

const adding = (n: number) => (known: readonly number[] | null) => (known?.includes(n) ? known : [...(known ?? []), n]);

test("consecutive changes share one read, and a change by another process is not lost", async () => {
  const { interceptor, mine, theirs } = await two();
  for (const n of upTo(10)) await mine.update("a", adding(n));
  expect(interceptor.count("MSG.GET")).toBe(1);
  await theirs.update("a", adding(10));
  await mine.update("a", adding(11));
  expect((await theirs.get("a")).value).toEqual(upTo(12));
  await Promise.all(upTo(40).map((n) => (n % 2 === 0 ? mine : theirs).update("a", adding(100 + n))));
  expect((await mine.get("a")).value).toHaveLength(52);
});

test("that nothing needs to change, or that a limit is reached, is never decided from the cache alone", async () => {
  const { mine, theirs } = await two();
  await mine.update("a", adding(1));
  await theirs.change("a", () => []);
  await mine.update("a", adding(1));
  expect((await theirs.get("a")).value).toEqual([1]);
  const orFull = (known: readonly number[] | null) => {
    if ((known?.length ?? 0) > 0) throw new Error("full");
    return [2];
  };
  await theirs.change("a", () => []);
  expect(await mine.change("a", orFull)).toBe(true);
  expect((await theirs.get("a")).value).toEqual([2]);
  await expect(mine.change("a", orFull)).rejects.toThrow("full");
});
