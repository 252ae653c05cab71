/** Runs the conformance suite over each built-in store: SQLite, memory, and key-value buckets on a real nats-server. */
import { afterAll } from "bun:test";
import memory from "../../examples/plugins/store-memory.ts";
import sqlite from "../../src/plugins/store-sqlite/index.ts";
import { KvServer } from "../plugins/store-kv/server.ts";
import { openStorePlugin, type StoreUnderTest, storeConformance } from "./index.ts";

storeConformance("sqlite", () => openStorePlugin(sqlite));
storeConformance("memory", () => openStorePlugin(memory));

/** More accounts than the suite opens, counting those open at once and one after another. */
const accountsMax = 200;
const servers: KvServer[] = [];
let shared: Promise<KvServer> | undefined;

async function startServer(accounts: number): Promise<KvServer> {
  const server = await KvServer.start(accounts);
  servers.push(server);
  return server;
}

/** A store in an empty account of a shared server. The case that breaks its backend gets a server of its own. */
async function openKv(): Promise<StoreUnderTest> {
  shared ??= startServer(accountsMax);
  const server = await shared;
  const { rooms, users, invites, snapshot, wayBack, connection } = await server.store(server.freshAccount());
  return {
    ...{ rooms, users, invites, snapshot, wayBack },
    async breakBackend() {
      shared = undefined;
      await server.kill();
    },
    close: () => connection.close(),
  };
}

storeConformance("kv", openKv);

afterAll(async () => {
  for (const server of servers) await server[Symbol.asyncDispose]();
});
