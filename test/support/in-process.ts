/** A bus in the test's own process with its real plugins, so that a test can intercept calls between them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import type { Log, Plugin, Token } from "../../src/contracts/plugin.ts";
import { UserStore } from "../../src/contracts/store.ts";
import { type Bus, boot } from "../../src/kernel/boot.ts";
import { parseManifest } from "../../src/kernel/manifest.ts";
import { builtins } from "../../src/plugins/index.ts";
import type { UserRole } from "../../src/wire/api.ts";
import { Folder, type Server } from "./executable.ts";

/** Wrappers between a plugin and its consumers, by token id: each gets the service and returns what consumers see. */
export type Between = Readonly<Record<string, (service: object) => object>>;

/** A bus, and what the helpers for the executable need from it. */
export interface InProcess extends AsyncDisposable {
  readonly bus: Bus;
  /** For helpers that speak HTTP and NATS to a server: it has addresses but no process. */
  readonly server: Server;
}

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };
const manifestFile = join(import.meta.dir, "..", "..", "plugins.json");

function standingBetween(plugin: Plugin, between: Between): Plugin {
  return {
    ...plugin,
    async setup(context, use) {
      const live = await plugin.setup(context, use);
      const services = Object.entries(plugin.provides ?? {}).map(([name, { id }]) => {
        const service = (live.services as Readonly<Record<string, object>>)[name] ?? {};
        return [name, between[id]?.(service) ?? service];
      });
      return { ...live, services: Object.fromEntries(services) };
    },
  };
}

/** Options for a bus in the test's process. */
export interface BootInProcess {
  readonly between?: Between;
  readonly now?: () => number;
  readonly flags?: Readonly<Record<string, boolean>>;
  readonly log?: Log;
  /** Settings by plugin, as `--set` would give them, besides the addresses. */
  readonly settings?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** Boots a bus on free loopback ports in its own folder. */
export async function bootInProcess(options: BootInProcess = {}): Promise<InProcess> {
  const folder = new Folder();
  const { between = {}, now, flags = {}, settings = {}, log = silent } = options;
  const wrapped = Object.entries(builtins).map(([name, load]) => {
    const plugin = async () => ({ default: standingBetween((await load()).default as unknown as Plugin, between) });
    return [name, plugin] as const;
  });
  const free = "127.0.0.1:0";
  const bus = await boot({
    manifest: parseManifest(readFileSync(manifestFile, "utf8"), manifestFile),
    file: manifestFile,
    overrides: {
      flags,
      settings: {
        ...settings,
        http: { rate: 1_000_000, ...settings.http, listen: free },
        "nats-embedded": { ...settings["nats-embedded"], listen: free, ws: free },
      },
    },
    builtins: Object.fromEntries(wrapped),
    environment: {},
    version: "0.0.0",
    dataDir: folder.path,
    log: () => log,
    ...(now === undefined ? {} : { now }),
  });
  const http = bus.site.url();
  const { nats, ws } = (await (await fetch(`${http}/info`)).json()) as { nats: string[]; ws: string[] };
  const ready = { pid: process.pid, version: "0.0.0", http, nats: nats[0] ?? "", ws: ws[0] ?? "", nats_pid: 0 };
  return {
    bus,
    server: { ready, folder, data: folder.path } as unknown as Server,
    async [Symbol.asyncDispose]() {
      await bus.stop();
      folder[Symbol.dispose]();
    },
  };
}

/** Returns a service of a bus. Throws if the bus does not have it. */
export function serviceOf<T>({ bus }: InProcess, token: Token<T>): T {
  const service = bus.service(token);
  if (service === undefined) throw new Error(`the bus has no ${token.id}`);
  return service;
}

/** Inserts a user directly into the store, bypassing the rules. An admin inserted so is not in the roster. */
export async function insertUser(running: InProcess, handle: string, role: UserRole = "member"): Promise<Identity> {
  const user = await generateIdentity();
  const { signPubHex, endpoint, kexPubHex, kexSig } = user;
  await serviceOf(running, UserStore).insertUser({
    ...{ signPub: signPubHex, endpoint, kexPub: kexPubHex, kexSig, handle, role, status: "active" },
    ...{ createdAt: 1, revokedAt: null, revision: 0 },
  });
  return user;
}
