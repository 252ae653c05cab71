/**
 * Opens a store plugin for `storeConformance` as a bus does: its config with defaults, a data directory of its own, and
 * releases in reverse order. `unibus/testing` exports it, so that the test of a third-party store is three lines.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Value } from "@sinclair/typebox/value";
import {
  type Context,
  InviteStore,
  type Log,
  type Plugin,
  RoomStore,
  Snapshot,
  type Token,
  UserStore,
  WayBackStore,
} from "../../src/contracts/index.ts";
import type { StoreUnderTest } from "./store.ts";

/** How a plugin is opened. */
export interface OpenPluginOptions {
  /** The `config` of its row. Default: the defaults of its schema. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Removes the backend for good. Default: stops the plugin. */
  readonly breakBackend?: () => unknown;
}

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** The site of a bus that listens nowhere. */
function siteIn(dataDir: string): Context<unknown>["site"] {
  return {
    ...{ version: "0.0.0", dataDir, flags: {}, publicUrl: null, hosts: [], facts: {} },
    url: () => "",
    listener: { hostname: "127.0.0.1", port: () => 0, tls: false, isPublic: false, allowCleartext: false },
  };
}

function configOf({ name, config: schema }: Plugin, given: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const config = Value.Default(schema, { ...given });
  const [error] = Value.Errors(schema, config);
  if (error !== undefined) throw new Error(`the config of ${name} is not valid: ${error.path}: ${error.message}`);
  return config as Record<string, unknown>;
}

/** Sets a store plugin up, empty and in a data directory of its own. Errors: those of its setup. */
export async function openStorePlugin(plugin: Plugin, options: OpenPluginOptions = {}): Promise<StoreUnderTest> {
  const config = configOf(plugin, options.config ?? {});
  const dataDir = mkdtempSync(join(tmpdir(), "unibus-store-"));
  const releases: (() => unknown)[] = [];
  const stopping = new AbortController();
  const release = async () => {
    stopping.abort();
    for (const one of releases.splice(0).reverse()) await one();
  };
  const close = async () => {
    await release();
    rmSync(dataDir, { recursive: true, force: true });
  };
  const hooks = { signal: stopping.signal, onStop: (one: () => unknown) => void releases.push(one), progress() {} };
  try {
    const context = { config, site: siteIn(dataDir), log: silent, now: Date.now, ...hooks };
    const { services } = await plugin.setup(context, {});
    const service = <T>({ id }: Token<T>): T => {
      const [name] = Object.entries(plugin.provides ?? {}).find(([, token]) => token.id === id) ?? [];
      if (name === undefined) throw new Error(`${plugin.name} does not provide ${id}, which a store has to`);
      return services[name] as T;
    };
    return {
      ...{ rooms: service(RoomStore), users: service(UserStore), invites: service(InviteStore) },
      ...{ snapshot: service(Snapshot), wayBack: service(WayBackStore) },
      breakBackend: options.breakBackend ?? release,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
