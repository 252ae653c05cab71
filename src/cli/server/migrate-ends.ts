import { basename, dirname, resolve } from "node:path";
import { BlobStore } from "../../contracts/blobs.ts";
import { InviteStore, Snapshot } from "../../contracts/store.ts";
import { type BootOptions, type Bus, bootServices } from "../../kernel/boot.ts";
import { builtins, dialled } from "../../plugins/index.ts";
import { UnibusError } from "../../wire/errors.ts";
import type { CliCommand } from "../cli-command.ts";
import { makeLog } from "../log.ts";
import { version } from "../version.ts";
import { checkDataDir, type DirectoryLock } from "./data-dir.ts";
import { bootOnHost, type HostOptions, hostCommand, hostSetup } from "./host.ts";
import type { End } from "./migrate-copy.ts";

/** The options of both migrations. */
export interface MigrateOptions extends HostOptions {
  readonly db: string;
  readonly natsUrl?: string;
  readonly ca?: string;
  readonly replicas?: number;
}

const tokens = [Snapshot, InviteStore, BlobStore] as const;

/** Adds the options for the key-value store to a command. */
export function keyValueOptions(command: CliCommand): CliCommand {
  return hostCommand(command)
    .option("--nats-url <url>", "the bus's NATS address, as in nats://127.0.0.1:4250 (default: the buckets of --data)")
    .option("--ca <file>", "the CA of its certificate, PEM; required for another machine")
    .option("--json", "print JSON");
}

/** An open side of a migration. */
export interface OpenEnd extends End {
  /** The name of the store. */
  readonly store: string | null;
  close(): Promise<void>;
}

function endOf(bus: Bus, lock: DirectoryLock | null = null): OpenEnd {
  const [snapshot, invites] = [bus.service(Snapshot), bus.service(InviteStore)];
  if (snapshot === undefined || invites === undefined) {
    throw new UnibusError("invalid", "no plugin provides a store (see unibus plan)");
  }
  return {
    ...{ snapshot, invites, store: bus.site.facts.store ?? null },
    blobs: bus.service(BlobStore),
    async close() {
      await bus.stop();
      lock?.release();
    },
  };
}

/** The boot options for a database file and, with `withBlobs`, the blobs in the folder next to it. */
export async function fileSetup(file: string, withBlobs = false): Promise<BootOptions> {
  const rows = [
    { use: "store-sqlite", config: { file: basename(file) } },
    ...(withBlobs ? [{ use: "blobs-disk" }] : []),
  ];
  return {
    manifest: { plugins: rows },
    file: `--db ${file}`,
    overrides: { flags: {}, settings: {} },
    ...{ builtins, environment: {}, version, dataDir: dirname(resolve(file)), log: await makeLog("json") },
  };
}

/** Opens a database file and, with `withBlobs`, the blobs in the folder next to it. */
export async function openFile(file: string, withBlobs: boolean): Promise<OpenEnd> {
  return endOf(await bootServices(await fileSetup(file, withBlobs), tokens));
}

/**
 * Opens the key-value store: that of the data directory, whether or not its server is running; or the one at `natsUrl`,
 * logging in as a node with the data directory's credentials.
 */
export async function openKeyValue({ natsUrl, ca, replicas, ...options }: MigrateOptions): Promise<OpenEnd> {
  checkDataDir(options.data);
  const setup = await hostSetup(options);
  const { flags, settings } = setup.overrides;
  const change = (plugin: string, keys: Readonly<Record<string, unknown>>) => ({
    [plugin]: { ...settings[plugin], ...keys },
  });
  const copies = replicas === undefined ? {} : change("store-kv", { replicas });
  if (natsUrl === undefined) {
    const overrides = { flags: { ...flags, decentralized: true }, settings: { ...settings, ...copies } };
    const { bus, lock } = await bootOnHost({ ...setup, overrides }, tokens);
    return endOf(bus, lock);
  }
  const isKnown = "external-nats" in (setup.manifest.flags ?? {});
  const dial = change("nats-embedded", { dial: natsUrl, ...(ca === undefined ? {} : { dial_ca: ca }) });
  const overrides = {
    flags: { ...flags, decentralized: true, ...(isKnown ? { "external-nats": false } : {}) },
    settings: { ...settings, ...copies, ...dial },
  };
  return endOf(await bootServices({ ...setup, builtins: { ...setup.builtins, ...dialled }, overrides }, tokens));
}
