/** Runs the conformance suite over each built-in store: SQLite, memory, and key-value buckets on a real nats-server. */
import { afterAll } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import memory from "../../examples/plugins/store-memory.ts";
import type {
  Context,
  InviteStore,
  Live,
  Log,
  RoomStore,
  Snapshot,
  UserStore,
  WayBackStore,
} from "../../src/contracts/index.ts";
import sqlite from "../../src/plugins/store-sqlite/index.ts";
import { KvServer } from "../plugins/store-kv/server.ts";
import { type StoreUnderTest, storeConformance } from "./index.ts";

type StoreTokens = {
  RoomStore: typeof RoomStore;
  UserStore: typeof UserStore;
  InviteStore: typeof InviteStore;
  Snapshot: typeof Snapshot;
  WayBackStore: typeof WayBackStore;
};
type StorePlugin = { setup(ctx: Context<Record<never, never>>, use: Record<never, never>): Promise<Live<StoreTokens>> };

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** Sets up a plugin as a bus does, in its own folder. */
async function openPlugin(plugin: StorePlugin): Promise<StoreUnderTest> {
  const dataDir = mkdtempSync(join(tmpdir(), "unibus-store-"));
  const releases: (() => unknown)[] = [];
  const stopping = new AbortController();
  const { services } = await plugin.setup(
    {
      config: {},
      site: {
        version: "0.0.0",
        dataDir,
        flags: {},
        publicUrl: null,
        url: () => "",
        hosts: [],
        facts: {},
        listener: { hostname: "127.0.0.1", port: () => 0, tls: false, isPublic: false, allowCleartext: false },
      },
      log: silent,
      now: Date.now,
      signal: stopping.signal,
      onStop: (release) => releases.push(release),
      progress: () => undefined,
    },
    {},
  );
  const release = async () => {
    stopping.abort();
    for (const one of releases.splice(0).reverse()) await one();
  };
  return {
    rooms: services.RoomStore,
    users: services.UserStore,
    invites: services.InviteStore,
    snapshot: services.Snapshot,
    wayBack: services.WayBackStore,
    breakBackend: release,
    async close() {
      await release();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

storeConformance("sqlite", () => openPlugin(sqlite));
storeConformance("memory", () => openPlugin(memory));

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
