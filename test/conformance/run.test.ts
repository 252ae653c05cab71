/** Runs the conformance suite over each built-in store: SQLite, memory, and key-value buckets on a real nats-server. */
import { afterAll } from "bun:test";
import memory from "../../examples/plugins/store-memory.ts";
import sqlite from "../../src/plugins/store-sqlite/index.ts";
import { KvServer } from "../plugins/store-kv/server.ts";
import { emptyBuckets } from "../support/kv-buckets.ts";
import { openStorePlugin, type StoreUnderTest, storeConformance } from "./index.ts";

storeConformance("sqlite", () => openStorePlugin(sqlite));
storeConformance("memory", () => openStorePlugin(memory));

/** More accounts than one case opens at once. */
const accountsMax = 8;
const servers: KvServer[] = [];
let shared: Promise<KvServer> | undefined;
const free: string[] = [];

async function startServer(): Promise<KvServer> {
  const server = await KvServer.start(accountsMax);
  servers.push(server);
  free.splice(0, free.length, ...Array.from({ length: accountsMax }, () => server.freshAccount()));
  return server;
}

/**
 * A store over empty buckets: those of an account of a shared server, emptied by the case before. The case that breaks
 * its backend takes the server with it.
 */
async function openKv(): Promise<StoreUnderTest> {
  shared ??= startServer();
  const server = await shared;
  const account = free.shift();
  if (account === undefined) throw new Error("too many stores are open");
  const { rooms, users, invites, snapshot, wayBack, connection } = await server.store(account);
  let isGone = false;
  return {
    ...{ rooms, users, invites, snapshot, wayBack },
    async breakBackend() {
      isGone = true;
      shared = undefined;
      await server.kill();
    },
    async close() {
      if (!isGone) {
        await emptyBuckets(connection);
        // The next case takes it again, so that few accounts ever have buckets.
        free.unshift(account);
      }
      await connection.close();
    },
  };
}

storeConformance("kv", openKv);

afterAll(async () => {
  for (const server of servers) await server[Symbol.asyncDispose]();
});
