/**
 * Blobs in an object store of a real nats-server, with several nodes at once: deduplication, the shared quota, and
 * recovery from uploads that break off at any step.
 */
import { afterAll, describe, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { blobBytesMin } from "../../../src/contracts/blobs.ts";
import { JetStream } from "../../../src/nats/jetstream.ts";
import { lastMessage, nextMessage } from "../../../src/nats/messages.ts";
import { blobErrors } from "../../../src/plugins/blobs-nats/errors.ts";
import { NatsBlobs } from "../../../src/plugins/blobs-nats/store.ts";
import { openBlobStream } from "../../../src/plugins/blobs-nats/stream.ts";
import { sweep } from "../../../src/plugins/blobs-nats/sweep.ts";
import { blobBucket, objectStream } from "../../../src/wire/names.ts";
import { KvServer } from "../store-kv/server.ts";
import { blobCases } from "./cases.ts";
import { bytesOf, hashOf, mebibyte, type OpenBlobs, pieces, Shelf, silentLog } from "./shelf.ts";

const accountsMax = 100;
const stream = objectStream(blobBucket);
const opening = { replicas: 1, leads: async () => true, signal: new AbortController().signal };
let shared: Promise<KvServer> | undefined;

function server(): Promise<KvServer> {
  shared ??= KvServer.start(accountsMax);
  return shared;
}

afterAll(async () => (await shared)?.[Symbol.asyncDispose]());

/** The object store's subjects of one kind (after the prefix), with their message counts. */
async function subjectsOf(connection: NatsConnection, kind: "C" | "U" | "M" | "Q"): Promise<Record<string, number>> {
  const prefix = `$O.${blobBucket}.${kind}.`;
  const query = JSON.stringify({ subjects_filter: `${prefix}>` });
  const reply = await connection.request(`$JS.API.STREAM.INFO.${stream}`, query, { timeout: 5_000 });
  const { state } = reply.json<{ state: { subjects?: Record<string, number> } }>();
  const found = Object.entries(state.subjects ?? {}).map(([name, count]) => [name.slice(prefix.length), count]);
  return Object.fromEntries(found) as Record<string, number>;
}

interface NatsShelf extends OpenBlobs {
  raise(): Promise<void>;
  readonly connection: NatsConnection;
  readonly js: JetStream;
  again(): Promise<NatsShelf>;
}

/** Opens an account's blobs as a node does. `wrap` can intercept the connection to nats-server. */
async function openNats(
  account?: string,
  wrap: (connection: NatsConnection) => NatsConnection = (connection) => connection,
): Promise<NatsShelf> {
  const at = await server();
  const name = account ?? at.freshAccount();
  const connection = await at.connection(name);
  const js = new JetStream(wrap(connection), blobErrors);
  await openBlobStream(js, opening);
  const isWhole = async (upload: string): Promise<boolean> => {
    for (const hash of Object.keys(await subjectsOf(connection, "M"))) {
      const found = await lastMessage(js, stream, `$O.${blobBucket}.M.${hash}`);
      if (found !== null && Buffer.from(found.data).toString().includes(upload)) return true;
    }
    return false;
  };
  const halves = async (kind: "C" | "U"): Promise<string[]> => {
    const uploads = Object.keys(await subjectsOf(connection, kind));
    const known = await Promise.all(uploads.map(isWhole));
    return uploads.filter((_, index) => known[index] !== true);
  };
  const store = new NatsBlobs(js, silentLog);
  return {
    connection,
    js,
    store,
    raise: () => store.raiseCharges(),
    leftovers: async () => [...(await halves("C")), ...(await halves("U"))],
    async underWay() {
      let bytes = 0;
      for (const upload of await halves("C")) {
        for (let from = 1; ; ) {
          const found = await nextMessage(js, stream, `$O.${blobBucket}.C.${upload}`, from);
          if (found === null) break;
          bytes += found.data.byteLength;
          from = found.seq + 1;
        }
      }
      return bytes;
    },
    again: () => openNats(name),
    close: () => connection.close(),
  };
}

blobCases("blobs-nats", () => openNats());

const none: AsyncIterable<Uint8Array> = (async function* () {})();

describe("several nodes", () => {
  test("serve the blobs that any of them received, and know what is charged", async () => {
    const blobs = await openNats();
    await using here = await Shelf.open(blobs);
    await using there = await Shelf.open(await blobs.again());
    const bytes = bytesOf(7, 3 * mebibyte + 5);
    expect((await here.post("ana", pieces(bytes))).status).toBe(201);
    expect(hashOf((await there.get(hashOf(bytes)))?.bytes ?? (none as never))).toBe(hashOf(bytes));
    expect((await there.post("bo", pieces(bytes))).status).toBe(200);
    expect([await there.store.bytesOf("ana"), await there.store.bytesOf("bo")]).toEqual([bytes.length, bytes.length]);
    expect(await there.release("ana", hashOf(bytes))).toBe("released");
    expect(await here.release("bo", hashOf(bytes))).toBe("released");
    expect(await there.get(hashOf(bytes))).toBeNull();
    await using fresh = await Shelf.open(await blobs.again());
    expect([await fresh.store.bytesOf("ana"), await fresh.store.bytesOf("bo")]).toEqual([0, 0]);
    expect(await subjectsOf(blobs.connection, "C")).toEqual({});
    expect(await subjectsOf(blobs.connection, "M")).toEqual({});
  });

  test("enforce one quota together, to the byte, also for concurrent uploads", async () => {
    const blobs = await openNats();
    const nodes = [blobs, await blobs.again(), await blobs.again()];
    const shelves = await Promise.all(nodes.map((node) => Shelf.open(node, 8 * mebibyte)));
    const posted = await Promise.all(
      Array.from({ length: 24 }, (_, i) => shelves[i % 3]?.post("ana", pieces(bytesOf(i, mebibyte)))),
    );
    const stored = posted.filter((one) => one?.status === 201).length;
    expect(posted.filter((one) => one?.status === "quota")).toHaveLength(24 - stored);
    expect(stored).toBeGreaterThan(0);
    expect(stored).toBeLessThanOrEqual(8);
    const fresh = await blobs.again();
    expect(await fresh.store.bytesOf("ana")).toBe(stored * mebibyte);
    expect(await Array.fromAsync(fresh.store.list())).toHaveLength(stored);
    for (const node of [...nodes, fresh]) await node.close();
  });

  test("that receive one blob at once store it once, and charge each uploader once", async () => {
    const blobs = await openNats();
    const nodes = [blobs, await blobs.again(), await blobs.again()];
    const shelves = await Promise.all(nodes.map((node) => Shelf.open(node)));
    const bytes = bytesOf(3, 700_000);
    const owners = Array.from({ length: 12 }, (_, i) => `owner${i % 4}`);
    const posted = await Promise.all(owners.map((owner, i) => shelves[i % 3]?.post(owner, pieces(bytes))));
    expect(posted.filter((one) => one?.status === 201)).toHaveLength(1);
    expect(posted.filter((one) => one?.status === 200)).toHaveLength(11);
    const fresh = await blobs.again();
    const charged = await Promise.all([0, 1, 2, 3].map((i) => fresh.store.bytesOf(`owner${i}`)));
    expect(charged).toEqual(Array(4).fill(bytes.length));
    expect(await fresh.leftovers()).toEqual([]);
    for (const node of [...nodes, fresh]) await node.close();
  });
});

describe("interrupted work", () => {
  /** A connection whose calls to matching subjects fail before or after nats-server processed them. */
  function failing(connection: NatsConnection, isHit: (subject: string) => boolean, when: "before" | "after") {
    return new Proxy(connection, {
      get(target, name) {
        const value = Reflect.get(target, name) as unknown;
        if (name !== "request") return typeof value === "function" ? value.bind(target) : value;
        return async (subject: string, ...rest: [Uint8Array, { timeout: number }]) => {
          if (!isHit(subject)) return target.request(subject, ...rest);
          if (when === "after") await target.request(subject, ...rest);
          throw new Error("no answer");
        };
      },
    });
  }

  for (const when of ["before", "after"] as const) {
    test(`a commit without an answer, lost ${when} it ran, ends either complete or undone`, async () => {
      const account = (await server()).freshAccount();
      const isHit = (subject: string) => subject.startsWith(`$O.${blobBucket}.Q.`);
      const blobs = await openNats(account, (connection) => failing(connection, isHit, when));
      await using shelf = await Shelf.open(blobs);
      const bytes = bytesOf(1, 600_000);
      const posted = await shelf.post("ana", pieces(bytes));
      await using fresh = await Shelf.open(await openNats(account));
      const isThere = (await fresh.get(hashOf(bytes))) !== null;
      expect([posted.status, isThere]).toEqual(when === "after" ? [201, true] : ["unavailable", false]);
      expect(await fresh.store.bytesOf("ana")).toBe(isThere ? 600_000 : 0);
      expect(await fresh.blobs.leftovers()).toEqual([]);
      expect((await fresh.post("ana", pieces(bytes))).status).toBe(isThere ? 200 : 201);
    });
  }

  for (const when of ["before", "after"] as const) {
    test(`a deletion whose answer is lost ${when} it ran succeeds, and gives the charge back once`, async () => {
      const account = (await server()).freshAccount();
      let hits = 0;
      const isHit = (subject: string) => subject.startsWith(`$O.${blobBucket}.Q.`) && ++hits === 3;
      const blobs = await openNats(account, (connection) => failing(connection, isHit, when));
      await using shelf = await Shelf.open(blobs);
      const [bytes, other] = [bytesOf(1, 600_000), bytesOf(2, 50_000)];
      for (const one of [bytes, other]) await shelf.post("ana", pieces(one));
      expect(await shelf.release("ana", hashOf(bytes))).toBe("released");
      await using fresh = await Shelf.open(await openNats(account));
      expect(await fresh.get(hashOf(bytes))).toBeNull();
      expect(await fresh.store.bytesOf("ana")).toBe(50_000);
      expect((await fresh.post("ana", pieces(bytes))).status).toBe(201);
    });
  }

  test("a deleted blob whose node died before it removed the bytes is removed by a sweep", async () => {
    const blobs = await openNats();
    await using shelf = await Shelf.open(blobs);
    const bytes = bytesOf(1, 600_000);
    await shelf.post("ana", pieces(bytes));
    const dead = failing(blobs.connection, (subject) => subject.startsWith("$JS.API.STREAM.PURGE."), "before");
    const dying = new NatsBlobs(new JetStream(dead, blobErrors), silentLog);
    expect(await dying.release(hashOf(bytes), "ana")).toBe(true);
    expect(await shelf.get(hashOf(bytes))).toBeNull();
    expect(Object.keys(await subjectsOf(blobs.connection, "C"))).toHaveLength(1);
    await sweep({ js: blobs.js, log: silentLog, now: Date.now, signal: new AbortController().signal });
    expect(await subjectsOf(blobs.connection, "C")).toEqual({});
    expect(await subjectsOf(blobs.connection, "U")).toEqual({});
  });

  test("an upload whose node died is swept only once it is old; no later part of it is accepted", async () => {
    const blobs = await openNats();
    await using shelf = await Shelf.open(blobs);
    const more = Promise.withResolvers<void>();
    async function* slow(): AsyncGenerator<Uint8Array> {
      for (let i = 0; i < 3; i++) yield bytesOf(i, 600_000);
      await more.promise;
      yield bytesOf(3, 600_000);
    }
    const posting = shelf.post("ana", slow());
    while ((await blobs.underWay()) < mebibyte) await Bun.sleep(1);
    const parts = { js: blobs.js, log: silentLog, signal: new AbortController().signal };
    await sweep({ ...parts, now: Date.now });
    expect(await blobs.underWay()).toBeGreaterThanOrEqual(mebibyte);
    await sweep({ ...parts, now: () => Date.now() + 2 * 3_600_000 });
    expect(await blobs.leftovers()).toEqual([]);
    more.resolve();
    expect(await posting).toMatchObject({ status: "unavailable" });
    expect(await blobs.leftovers()).toEqual([]);
    expect(await Array.fromAsync(blobs.store.list())).toEqual([]);
    expect(await blobs.store.bytesOf("ana")).toBe(0);
  });

  test("leftovers are swept: entries of completed uploads, and charges before the last", async () => {
    const account = (await server()).freshAccount();
    const isHit = (subject: string) => subject.startsWith("$JS.API.STREAM.PURGE");
    const blobs = await openNats(account, (connection) => failing(connection, isHit, "before"));
    await using shelf = await Shelf.open(blobs);
    for (let i = 0; i < 3; i++) expect((await shelf.post("ana", pieces(bytesOf(i)))).status).toBe(201);
    expect(Object.keys(await subjectsOf(blobs.connection, "U"))).toHaveLength(3);
    expect(await subjectsOf(blobs.connection, "Q")).toEqual({ ana: 3 });
    const again = await openNats(account);
    await sweep({ js: again.js, log: silentLog, now: Date.now, signal: new AbortController().signal });
    expect(await subjectsOf(again.connection, "U")).toEqual({});
    expect(await subjectsOf(again.connection, "Q")).toEqual({ ana: 1 });
    expect(await again.store.bytesOf("ana")).toBe(3 * blobBytesMin);
    for (let i = 0; i < 3; i++) expect(await again.store.get(hashOf(bytesOf(i)))).not.toBeNull();
    await again.close();
  });

  test("charges of earlier versions are raised once to the minimum for a blob", async () => {
    const blobs = await openNats();
    await using shelf = await Shelf.open(blobs, 5 * blobBytesMin);
    for (let i = 0; i < 3; i++) expect((await shelf.post("ana", pieces(bytesOf(i, 10)))).status).toBe(201);
    expect((await shelf.post("bo", pieces(bytesOf(9, 9_000)))).status).toBe(201);
    const charge = `$O.${blobBucket}.Q.`;
    await blobs.connection.request(`${charge}ana`, JSON.stringify({ bytes: 30 }));
    await blobs.connection.request(`${charge}bo`, JSON.stringify({ bytes: 9_000 }));
    const next = await blobs.again();
    await using later = await Shelf.open(next, 5 * blobBytesMin);
    expect(await next.store.bytesOf("ana")).toBe(30);
    await next.raise();
    expect([await next.store.bytesOf("ana"), await next.store.bytesOf("bo")]).toEqual([3 * blobBytesMin, 9_000]);
    const before = await subjectsOf(blobs.connection, "Q");
    await next.raise();
    expect(await subjectsOf(blobs.connection, "Q")).toEqual(before);
    for (const [i, status] of [201, 201, "quota"].entries()) {
      expect((await later.post("ana", pieces(bytesOf(20 + i, 10)))).status).toBe(status as 201);
    }
  });

  test("a blob whose chunks are lost is never returned truncated", async () => {
    const blobs = await openNats();
    await using shelf = await Shelf.open(blobs);
    const [lost, cut] = [bytesOf(1, 900_000), bytesOf(2, 900_000)];
    const purge = async (upload: string, keep: number) => {
      const query = JSON.stringify({ filter: `$O.${blobBucket}.C.${upload}`, keep });
      await blobs.connection.request(`$JS.API.STREAM.PURGE.${stream}`, query);
    };
    for (const [bytes, keep] of [
      [lost, 0],
      [cut, 1],
    ] as const) {
      const before = new Set(Object.keys(await subjectsOf(blobs.connection, "C")));
      await shelf.post("ana", pieces(bytes));
      const uploads = Object.keys(await subjectsOf(blobs.connection, "C")).filter((name) => !before.has(name));
      for (const upload of uploads) await purge(upload, keep);
    }
    await expect(blobs.store.get(hashOf(lost))).rejects.toMatchObject({ code: "unavailable" });
    const found = await blobs.store.get(hashOf(cut));
    await expect(new Response(found?.body).bytes()).rejects.toThrow();
  });
});

test("put and get return unavailable within their deadline when the server is down", async () => {
  const own = await KvServer.start(1);
  const js = new JetStream(await own.connection(own.freshAccount()), blobErrors);
  await openBlobStream(js, opening);
  const store = new NatsBlobs(js, silentLog);
  await using shelf = await Shelf.open({ store, close: () => undefined } as unknown as OpenBlobs);
  expect((await shelf.post("ana", pieces(bytesOf(1)))).status).toBe(201);
  await own.kill();
  expect((await shelf.post("ana", pieces(bytesOf(2)))).status).toBe("unavailable");
  await expect(store.get(hashOf(bytesOf(1)))).rejects.toMatchObject({ code: "unavailable" });
  await own[Symbol.asyncDispose]();
}, 20_000);
