/** The store's conformance suite with three replicas of each bucket on three servers. */
import { afterAll } from "bun:test";
import { type StoreUnderTest, storeConformance } from "../conformance/index.ts";
import { emptyBuckets } from "../support/kv-buckets.ts";
import { KvCluster } from "../support/kv-cluster.ts";

/** More accounts than one case opens at once. */
const accountsMax = 8;

let cluster: Promise<KvCluster> | undefined;
const clusters: KvCluster[] = [];
const free: string[] = [];
let opened = 0;

async function startCluster(): Promise<KvCluster> {
  const started = await KvCluster.start(accountsMax);
  clusters.push(started);
  free.splice(0, free.length, ...Array.from({ length: accountsMax }, (_, n) => `A${n}`));
  return started;
}

/** Opens a store over empty buckets. It empties those of an earlier case, since creating buckets takes a second. */
async function open(): Promise<StoreUnderTest> {
  cluster ??= startCluster();
  const servers = await cluster;
  const account = free.shift();
  if (account === undefined) throw new Error("too many stores are open");
  const { rooms, users, invites, snapshot, wayBack, connection } = await servers.store(
    opened++ % servers.children.length,
    account,
  );
  let isGone = false;
  return {
    ...{ rooms, users, invites, snapshot, wayBack },
    async breakBackend() {
      isGone = true;
      cluster = undefined;
      for (const child of servers.children) child.kill("SIGKILL");
    },
    async close() {
      if (isGone) return;
      await emptyBuckets(connection);
      // The next case takes it again, so that few accounts ever have buckets.
      free.unshift(account);
      await connection.close();
    },
  };
}

storeConformance("kv, three copies", open);

afterAll(async () => {
  for (const one of clusters) await one[Symbol.asyncDispose]();
}, 60_000);
