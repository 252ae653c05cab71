/** Three servers hold the buckets. One that is cut off from the others admits nobody, whatever it still knows. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { connect, type NatsConnection } from "nats";
import { type KvStore, openKvStore } from "../../src/plugins/store-kv/store.ts";
import { bucketStream, buckets } from "../../src/wire/names.ts";
import { failure, keySample, peer, roomIdSample, roomSample, userSample } from "../conformance/store-samples.ts";
import { Folder, until } from "../support/executable.ts";
import { jetStream } from "../support/inside.ts";

const binary = process.env.UNIBUS_NATS_SERVER || resolve(import.meta.dir, "../../.cache/nats-server/nats-server");
/** For how long a leader counts as one without being followed, and how long finding out takes, at most, together. */
const denyMsMax = 8_000;
const healMsMax = 60_000;

interface Node {
  readonly child: Bun.Subprocess;
  readonly connection: NatsConnection;
  readonly store: KvStore;
}

const folder = new Folder();
const children: Bun.Subprocess[] = [];
let nodes: Node[] = [];

/** Ports that nobody has. nats-server wants to know its routes before it starts. */
function freePorts(count: number): number[] {
  const socket = { data: () => undefined };
  const held = Array.from({ length: count }, () => Bun.listen({ hostname: "127.0.0.1", port: 0, socket }));
  for (const one of held) one.stop(true);
  return held.map(({ port }) => port);
}

/** Starts a server. Gives the address at which clients dial it. */
async function startServer(name: string, own: number, routes: readonly number[]): Promise<string> {
  const config = {
    ...{ server_name: name, listen: "127.0.0.1:-1", ports_file_dir: folder.path },
    jetstream: { store_dir: folder.file(name) },
    cluster: {
      ...{ name: "test", listen: `127.0.0.1:${own}` },
      routes: routes.map((port) => `nats-route://127.0.0.1:${port}`),
    },
  };
  await Bun.write(folder.file(`${name}.conf`), JSON.stringify(config));
  const child = Bun.spawn([binary, "-c", folder.file(`${name}.conf`)], { stdout: "ignore", stderr: "ignore" });
  children.push(child);
  const said = (): string => {
    const file = readdirSync(folder.path).find((one) => one.endsWith(`_${child.pid}.ports`));
    return file === undefined ? "" : readFileSync(join(folder.path, file), "utf8");
  };
  await until("nats-server says where it listens", () => said().trimEnd().endsWith("}"));
  return (JSON.parse(said()) as { nats: string[] }).nats[0] ?? "";
}

beforeAll(async () => {
  const routes = freePorts(3);
  const urls: string[] = [];
  for (const [n, port] of routes.entries()) urls.push(await startServer(`n${n}`, port, routes));
  nodes = await Promise.all(
    urls.map(async (servers, n) => {
      const connection = await connect({ servers, ignoreClusterUpdates: true, maxReconnectAttempts: -1 });
      const signal = new AbortController().signal;
      // Three nodes that start cold make the same buckets at once.
      const store = await openKvStore(connection, { replicas: 3, onWait: () => undefined, signal, now: Date.now });
      return { child: children[n] as Bun.Subprocess, connection, store };
    }),
  );
}, 60_000);
afterAll(async () => {
  for (const { connection } of nodes) await connection.close();
  for (const child of children) {
    child.kill("SIGKILL");
    await child.exited;
  }
  folder[Symbol.dispose]();
});

/** The node at which the leader of a bucket is, and the two others. */
async function leaderOf(bucket: string): Promise<[Node, Node, Node]> {
  const [some] = nodes;
  if (some === undefined) throw new Error("no node");
  type Info = { cluster?: { leader?: string } };
  let leader: string | undefined;
  await until(`${bucket} has a leader`, async () => {
    leader = (await jetStream<Info>(some.connection, `STREAM.INFO.${bucketStream(bucket)}`)).cluster?.leader;
    return leader !== undefined;
  });
  const at = Number(leader?.slice(1));
  return [...nodes.slice(at), ...nodes.slice(0, at)] as [Node, Node, Node];
}

test("what one node commits the next read of every other sees", async () => {
  const [a, b, c] = nodes as [Node, Node, Node];
  await a.store.users.insertUser(userSample(1));
  await b.store.rooms.insertRoom(roomSample(1));
  for (let turn = 0; turn < 20; turn++) {
    const [writer, reader] = [nodes[turn % 3] ?? a, nodes[(turn + 1) % 3] ?? b];
    const user = await writer.store.users.getUser(keySample(1));
    expect(user && (await writer.store.users.replaceUser({ ...user, handle: `turn ${turn}` }))).toBe(true);
    expect((await reader.store.users.getUser(keySample(1)))?.handle).toBe(`turn ${turn}`);
  }
  expect(await c.store.rooms.getStay(roomIdSample(1), peer(1))).not.toBeNull();
  expect(await c.store.replicas.count()).toBe(3);
});

for (const bucket of [buckets.users, buckets.rooms]) {
  test(`the leader of ${bucket} that is cut off denies, and all heals when the others are back`, async () => {
    const [leader, ...others] = await leaderOf(bucket);
    const read = () =>
      bucket === buckets.users
        ? leader.store.users.getUser(keySample(1))
        : leader.store.rooms.getStay(roomIdSample(1), peer(1));
    // What the case before took away comes back for one bucket after the other.
    const stands = () =>
      read().then(
        (found) => found !== null,
        () => false,
      );
    await until("it stands", stands, healMsMax);
    for (const { child } of others) child.kill("SIGSTOP");
    try {
      const denied = () =>
        read().then(
          () => false,
          () => true,
        );
      await until("the leader denies", denied, denyMsMax);
      expect((await failure(read())).code).toBe("unavailable");
      expect((await leader.store.health()).ok).toBe(false);
    } finally {
      for (const { child } of others) child.kill("SIGCONT");
    }
    const answers = () =>
      read().then(
        (found) => found !== null,
        () => false,
      );
    await until("it answers again", answers, healMsMax);
  }, 90_000);
}
