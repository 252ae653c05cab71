/** A cluster's user directory: the next page in any process shows what another committed, even past a lost update. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import type { KvStore } from "../../../src/plugins/store-kv/store.ts";
import { looksOf } from "../../../src/wire/looks.ts";
import { bucketStream, buckets } from "../../../src/wire/names.ts";
import { failure, keySample, peer, upTo, userSample } from "../../conformance/store-samples.ts";
import { jetStream } from "../../support/inside.ts";
import { ConnectionInterceptor } from "./connection-interceptor.ts";
import { KvServer } from "./server.ts";

const stream = bucketStream(buckets.users);

let server: KvServer;
beforeAll(async () => {
  server = await KvServer.start(8);
});
afterAll(() => server[Symbol.asyncDispose]());

type Opened = KvStore & { readonly connection: NatsConnection };

/** Two processes on the same buckets, with the interceptor of the first. */
async function two(): Promise<{ a: Opened; b: Opened; interceptor: ConnectionInterceptor }> {
  const account = server.freshAccount();
  const interceptor = new ConnectionInterceptor();
  const [b, a] = [await server.store(account), await server.store(account, { wrap: interceptor.wrap })];
  return { a, b, interceptor };
}

const endpointsOf = async ({ users }: KvStore, handle?: string): Promise<string[]> => {
  const looks = handle === undefined ? undefined : looksOf(handle);
  return (await users.listActive({ looks, after: null, limit: 5_000 })).map(({ endpoint }) => endpoint);
};

describe("the user index", () => {
  test("shows what another process wrote a moment ago", async () => {
    const { a, b } = await two();
    for (const n of upTo(20)) {
      await b.users.insertUser(userSample(n, { handle: `bob${n % 2 === 0 ? "" : n}` }));
      expect(await endpointsOf(a)).toEqual(
        upTo(n + 1)
          .map(peer)
          .sort(),
      );
    }
    expect(await endpointsOf(a, "B0B")).toEqual(
      upTo(20)
        .filter((n) => n % 2 === 0)
        .map(peer)
        .sort(),
    );
  });

  test("reads one message, however many users it lists", async () => {
    const { a, b, interceptor } = await two();
    for (const n of upTo(300)) await b.users.insertUser(userSample(n));
    expect(await endpointsOf(a)).toHaveLength(300);
    const before = interceptor.count("$JS.API");
    expect(await endpointsOf(a)).toHaveLength(300);
    expect(interceptor.count("$JS.API") - before).toBe(1);
  });

  test("is rebuilt when a message was lost, or its consumer is gone", async () => {
    const { a, b, interceptor } = await two();
    await b.users.insertUser(userSample(1));
    expect(await endpointsOf(a)).toEqual([peer(1)]);
    interceptor.fate = () => null;
    await b.users.insertUser(userSample(2));
    // Insert the next user only while this list is running: its message reveals the gap.
    const listed = endpointsOf(a);
    await b.users.insertUser(userSample(3));
    interceptor.fate = () => 0;
    await b.users.insertUser(userSample(4));
    expect((await listed).length).toBeGreaterThanOrEqual(2);
    expect(await endpointsOf(a)).toEqual([1, 2, 3, 4].map(peer).sort());
    const { consumers } = await jetStream<{ consumers: string[] | null }>(b.connection, `CONSUMER.NAMES.${stream}`);
    for (const name of consumers ?? []) await jetStream(b.connection, `CONSUMER.DELETE.${stream}.${name}`);
    expect(await b.users.deleteUser(keySample(1))).toBe(true);
    expect(await endpointsOf(a)).toEqual([2, 3, 4].map(peer).sort());
  }, 30_000);

  test("fails while the server does not answer, and never shows stale entries", async () => {
    const { a } = await two();
    await a.users.insertUser(userSample(1));
    expect(await endpointsOf(a)).toEqual([peer(1)]);
    await a.connection.close();
    expect((await failure(endpointsOf(a))).code).toBe("unavailable");
  });
});
