import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import memory from "../../examples/plugins/store-memory.ts";
import type { Context, InviteStore, Live, Log, RoomStore, Snapshot, UserStore } from "../../src/contracts/index.ts";
import sqlite from "../../src/plugins/store-sqlite/index.ts";
import { type StoreUnderTest, storeConformance } from "./index.ts";

type StoreTokens = {
  RoomStore: typeof RoomStore;
  UserStore: typeof UserStore;
  InviteStore: typeof InviteStore;
  Snapshot: typeof Snapshot;
};
type StorePlugin = { setup(ctx: Context<Record<never, never>>, use: Record<never, never>): Promise<Live<StoreTokens>> };

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** Sets a plugin up as a bus does, in a folder of its own. */
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
        listener: { hostname: "127.0.0.1", port: () => 0, tls: false, isPublic: false, allowCleartext: false },
      },
      log: silent,
      now: Date.now,
      signal: stopping.signal,
      onStop: (release) => releases.push(release),
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
    breakBackend: release,
    async close() {
      await release();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

storeConformance("sqlite", () => openPlugin(sqlite));
storeConformance("memory", () => openPlugin(memory));
