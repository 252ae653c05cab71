/**
 * Linearizable reads: what one process commits, the very next read in another process sees, even if the watch feed is
 * late, loses messages, or the bucket is purged, recreated or restored. Runs longer with `npm run soak --
 * linearizable-reads`.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import type { KvStore } from "../../../src/plugins/store-kv/store.ts";
import { bucketStream, buckets } from "../../../src/wire/names.ts";
import {
  changeOf,
  failure,
  keySample,
  peer,
  roomIdSample,
  roomSample,
  staySample,
  upTo,
  userSample,
} from "../../conformance/store-samples.ts";
import { until } from "../../support/executable.ts";
import { jetStream } from "../../support/inside.ts";
import { isSoak } from "../../support/soak.ts";
import { ConnectionInterceptor } from "./connection-interceptor.ts";
import { KvServer } from "./server.ts";

const stream = bucketStream(buckets.users);
const subjectOf = (n: number) => `$KV.${buckets.users}.${peer(n)}`;

let server: KvServer;
beforeAll(async () => {
  server = await KvServer.start(24);
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

/** Reads a user until it comes from the cache, without a read of the bucket. */
async function untilHeld({ users }: KvStore, interceptor: ConnectionInterceptor, n: number): Promise<void> {
  await until("the user is cached", async () => {
    const before = interceptor.count("MSG.GET");
    await users.getUser(keySample(n));
    return interceptor.count("MSG.GET") === before;
  });
}

async function setHandle({ users }: KvStore, n: number, handle: string): Promise<void> {
  const user = await users.getUser(keySample(n));
  expect(user !== null && (await users.replaceUser({ ...user, handle }))).toBe(true);
}

const handleOf = async ({ users }: KvStore, n: number) => (await users.getUser(keySample(n)))?.handle;

async function removeConsumers(connection: NatsConnection): Promise<void> {
  const { consumers } = await jetStream<{ consumers: string[] | null }>(connection, `CONSUMER.NAMES.${stream}`);
  for (const name of consumers ?? []) await jetStream(connection, `CONSUMER.DELETE.${stream}.${name}`);
}

test("a cached value is served without reading it again, and many readers share one freshness check", async () => {
  const { a, interceptor } = await two();
  for (const n of upTo(20)) await a.users.insertUser(userSample(n));
  await until("all are cached", async () => {
    const before = interceptor.count("MSG.GET");
    for (const n of upTo(20)) await a.users.getUser(keySample(n));
    return interceptor.count("MSG.GET") === before;
  });
  const [reads, questions] = [interceptor.count("MSG.GET"), interceptor.count(`INFO.${stream}`)];
  const found = await Promise.all(upTo(1_000).map((n) => a.users.getUser(keySample(n % 20))));
  expect(found.every((user, n) => user?.signPub === keySample(n % 20))).toBe(true);
  expect(interceptor.count("MSG.GET")).toBe(reads);
  expect(interceptor.count(`INFO.${stream}`) - questions).toBeLessThan(5);
});

test("a user who is revoked by another process is refused at the very next read", async () => {
  const { a, b, interceptor } = await two();
  await b.users.insertUser(userSample(1));
  await untilHeld(a, interceptor, 1);
  for (const turn of upTo(isSoak("linearizable-reads") ? 3_000 : 100)) {
    const status = turn % 2 === 0 ? "revoked" : "active";
    const user = await b.users.getUser(keySample(1));
    expect(user !== null && (await b.users.replaceUser({ ...user, status }))).toBe(true);
    expect((await a.users.getUser(keySample(1)))?.status).toBe(status);
  }
});

test("a member who is removed from a room by another process is out at the very next read", async () => {
  const { a, b } = await two();
  await b.rooms.insertRoom(roomSample(1));
  let { room } = roomSample(1);
  for (const turn of upTo(100)) {
    const stays = [staySample(2, turn % 2 === 0 ? { since: turn + 1 } : { since: turn, until: turn + 1 })];
    const change = changeOf(room, { stays, rekey: turn % 2 === 1, salt: `${turn}` });
    expect(await b.rooms.applyChange(change)).toBe(true);
    const [open, version] = [await a.rooms.getStay(roomIdSample(1), peer(2)), await a.rooms.getRoom(roomIdSample(1))];
    expect([open === null, version?.version]).toEqual([turn % 2 === 1, change.room.version]);
    room = change.room;
  }
});

describe("for any order of writes and reads no read is older than a write that was committed before it began,", () => {
  const keys = 3;
  const [writes, timeoutMs] = isSoak("linearizable-reads") ? [4_000, 600_000] : [150, 60_000];
  /** Delays a share of the deliveries by `ms`, or drops them if null. */
  const faring = (share: number, ms: number | null) => (interceptor: ConnectionInterceptor) => {
    interceptor.fate = () => (Math.random() < share ? ms : 0);
  };
  const scenes: Readonly<Record<string, (interceptor: ConnectionInterceptor, b: Opened) => Promise<void> | void>> = {
    "with timely change events": () => undefined,
    "with change events that are late at times": faring(0.1, 15),
    "with change events later than any timeout": faring(0.02, 120),
    "with some change events lost": faring(0.05, null),
    "with change events that stop now and then": (interceptor) => {
      interceptor.fate = () => (Math.floor(performance.now() / 300) % 2 === 0 ? 0 : null);
    },
    "with a consumer that is deleted from outside": async (_, b) => {
      if (Math.random() < 0.05) await removeConsumers(b.connection);
    },
  };
  for (const [name, disturb] of Object.entries(scenes)) {
    test(
      name,
      async () => {
        const { a, b, interceptor } = await two();
        for (const n of upTo(keys)) await b.users.insertUser(userSample(n, { handle: "0" }));
        const committed = upTo(keys).map(() => 0);
        let isOver = false;
        let reads = 0;
        const reader = async (n: number) => {
          for (let last = 0; !isOver; reads++) {
            const floor = Math.max(last, committed[n] ?? 0);
            last = Number(await handleOf(a, n));
            expect(last).toBeGreaterThanOrEqual(floor);
            if (Math.random() < 0.5) await Bun.sleep(Math.random() * 3);
          }
        };
        const readers = upTo(8).map((r) => reader(r % keys));
        const write = async () => {
          for (let turn = 1; turn <= writes; turn++) {
            const n = Math.floor(Math.random() * keys);
            await disturb(interceptor, b);
            // A process also sees its own writes.
            await setHandle(Math.random() < 0.2 ? a : b, n, `${turn}`);
            committed[n] = turn;
            if (Math.random() < 0.5) expect(Number(await handleOf(a, n))).toBe(turn);
            if (Math.random() < 0.1) await Bun.sleep(Math.random() * 30);
          }
        };
        await write().finally(() => {
          isOver = true;
        });
        await Promise.all(readers);
        expect(reads).toBeGreaterThan(writes);
        interceptor.fate = () => 0;
        await untilHeld(a, interceptor, 0);
      },
      timeoutMs,
    );
  }
});

test("a purge, which leaves no message, is seen at the very next read, even if a write replaces it", async () => {
  const { a, b, interceptor } = await two();
  const filters = [subjectOf(1), undefined];
  for (const turn of upTo(24)) {
    for (const n of [1, 2]) await b.users.insertUser(userSample(n)).catch(() => undefined);
    await untilHeld(a, interceptor, 1);
    const filter = filters[turn % 2];
    await jetStream(b.connection, `STREAM.PURGE.${stream}`, filter === undefined ? {} : { filter });
    if (turn % 4 > 1) await b.users.insertUser(userSample(100 + turn));
    expect(await a.users.getUser(keySample(1))).toBeNull();
  }
});

test("a bucket that was deleted and created again with as many messages is not taken for the old one", async () => {
  const { a, b, interceptor } = await two();
  const account = "again";
  for (const turn of upTo(5)) {
    for (const n of [1, 2]) await b.users.insertUser(userSample(n, { handle: `${turn}` }));
    await untilHeld(a, interceptor, 1);
    const { config } = await jetStream<{ config: object }>(b.connection, `STREAM.INFO.${stream}`);
    await jetStream(b.connection, `STREAM.DELETE.${stream}`);
    expect((await failure(a.users.getUser(keySample(1)))).code).toBe("unavailable");
    await jetStream(b.connection, `STREAM.CREATE.${stream}`, config);
    expect(await a.users.getUser(keySample(1)), account).toBeNull();
    await jetStream(b.connection, `STREAM.DELETE.${stream}`);
    await jetStream(b.connection, `STREAM.CREATE.${stream}`, config);
    for (const n of [2, 1]) await b.users.insertUser(userSample(n, { handle: "again" }));
    expect((await a.users.getUser(keySample(1)))?.handle).toBe("again");
    for (const n of [1, 2]) await b.users.deleteUser(keySample(n));
  }
});

test("a restored bucket is read in its restored state", async () => {
  const { a, b, interceptor } = await two();
  for (const n of [1, 2]) await b.users.insertUser(userSample(n, { handle: "old" }));
  const backup = await takeBackup(b.connection);
  for (const turn of upTo(4)) {
    for (const n of [1, 2]) await setHandle(b, n, `new ${turn}`);
    await untilHeld(a, interceptor, 1);
    await jetStream(b.connection, `STREAM.DELETE.${stream}`);
    await restore(b.connection, backup);
    // Restore the previous message count, so that only the contents differ.
    for (const n of turn % 2 === 0 ? [2, 2] : []) await setHandle(b, n, `other ${turn}`);
    expect(await handleOf(a, 1)).toBe("old");
  }
});

test("while change events do not arrive every read goes to the leader, and none fails", async () => {
  const { a, b, interceptor } = await two();
  interceptor.fate = () => null;
  await b.users.insertUser(userSample(1, { handle: "0" }));
  const began = performance.now();
  for (const turn of upTo(100)) {
    await setHandle(b, 1, `${turn}`);
    expect(await handleOf(a, 1)).toBe(`${turn}`);
  }
  expect(performance.now() - began).toBeLessThan(5_000);
});

test("absent keys are looked up each time, and use no cache space", async () => {
  const { a, b, interceptor } = await two();
  await b.users.insertUser(userSample(1));
  await untilHeld(a, interceptor, 1);
  const before = interceptor.count("MSG.GET");
  for (const n of upTo(50)) expect(await a.users.getUser(keySample(100 + (n % 5)))).toBeNull();
  expect(interceptor.count("MSG.GET") - before).toBe(50);
});

interface Backup {
  readonly config: object;
  readonly state: object;
  readonly chunks: readonly Uint8Array[];
}

async function takeBackup(connection: NatsConnection): Promise<Backup> {
  const inbox = `backup.${crypto.randomUUID()}`;
  const chunks: Uint8Array[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const subscription = connection.subscribe(inbox, {
    callback: (_, message) => {
      if (message.data.length === 0) return resolve();
      chunks.push(message.data.slice());
      message.respond();
    },
  });
  const request = { deliver_subject: inbox, no_consumers: true };
  const { config, state } = await jetStream<Backup>(connection, `STREAM.SNAPSHOT.${stream}`, request);
  await promise;
  subscription.unsubscribe();
  return { config, state, chunks };
}

async function restore(connection: NatsConnection, { config, state, chunks }: Backup): Promise<void> {
  const request = { config, state };
  const { deliver_subject: to } = await jetStream<{ deliver_subject: string }>(
    connection,
    `STREAM.RESTORE.${stream}`,
    request,
  );
  for (const chunk of [...chunks, new Uint8Array()]) await connection.request(to, chunk, { timeout: 10_000 });
}
