/**
 * The embedded nats-server: writes its configuration, supervises the process, and connects to it.
 * Setup order: check the settings and the data directory, start nats-server (process.ts), connect (dial.ts), and
 * in a cluster wait for a quorum (quorum.ts). WebSocket clients come through websocket-proxy.ts. Other plugins use the
 * `Nats` service; auth-callout decides the logins.
 */
import { mkdirSync, readFileSync, statfsSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Static, Type } from "@sinclair/typebox";
import { checkAdvertised, Nats } from "../../contracts/nats.ts";
import { definePlugin, type Site } from "../../contracts/plugin.ts";
import type { SocketRoute } from "../../contracts/socket.ts";
import { readTlsFiles } from "../../contracts/tls.ts";
import { replaceFile } from "../../lib/atomic-file.ts";
import { allNamespaces } from "../../nats/namespaces.ts";
import { type Address, dialled, isLoopback, listenDefaults, parseAddress } from "../../wire/address.ts";
import { UnibusError } from "../../wire/errors.ts";
import { carriedServer, chosenServer } from "./binary.ts";
import { type Cluster, ClusterConfig, checkStore, clusterOf } from "./cluster.ts";
import { type ServerSettings, serverConfig } from "./config.ts";
import { embeddedConnections } from "./dial.ts";
import { type Internal, internalIdentity, issuerOf, keepInternal } from "./internal.ts";
import { NatsProcess, type Ports, portsFolder } from "./process.ts";
import { leadsCluster, quorumTimeoutMs, untilQuorum } from "./quorum.ts";
import { Readiness } from "./readiness.ts";
import { RouteTrouble } from "./route-trouble.ts";
import { silenceOf } from "./silence.ts";
import { StoreTrouble } from "./store-trouble.ts";
import { WebSocketProxy } from "./websocket-proxy.ts";

/** The settings of the embedded nats-server. */
export const Config = Type.Object(
  {
    listen: Type.Optional(Type.String({ description: "HOST:PORT for NATS clients" })),
    ws: Type.Optional(Type.String({ description: "HOST:PORT for WebSocket clients" })),
    namespaces: Type.Optional(
      Type.Array(Type.String(), { maxItems: 64, description: "additional first tokens of room subjects" }),
    ),
    durability: Type.Optional(Type.Union([Type.Literal("os"), Type.Literal("disk")], { description: "os or disk" })),
    bus_bytes_max: Type.Optional(
      Type.Integer({ minimum: 1_048_576, description: "maximum disk space of all rooms, in bytes" }),
    ),
    ctl_bytes_max: Type.Optional(
      Type.Integer({
        minimum: 16_777_216,
        description: "maximum disk space of what the nodes of a cluster share, including blobs, in bytes",
      }),
    ),
    binary: Type.Optional(Type.String({ minLength: 1, description: "the file of another nats-server executable" })),
    tls_cert: Type.Optional(Type.String({ description: "the file of a certificate chain, PEM" })),
    tls_key: Type.Optional(Type.String({ description: "the file of the certificate's key, PEM" })),
    ws_origins: Type.Optional(
      Type.Array(Type.String(), { maxItems: 64, description: "exact origins of web pages that may connect" }),
    ),
    advertise: Type.Optional(
      Type.Object(
        { nats: Type.Array(Type.String(), { maxItems: 16 }), ws: Type.Array(Type.String(), { maxItems: 16 }) },
        { additionalProperties: false, description: "the URLs that peers dial, if they differ from listen" },
      ),
    ),
    connections_max: Type.Optional(Type.Integer({ minimum: 16, description: "maximum connections in total" })),
    cluster: Type.Optional(ClusterConfig),
  },
  { additionalProperties: false },
);

type Config = Static<typeof Config>;

/** Default share of the free disk for room streams and for key-value stores. Source: docs/protocol/limits.md. */
const diskShare = { bus: 0.8, ctl: 0.1 } as const;

/** The path of the HTTP port that serves NATS over WebSocket. */
const webSocketPath = "/nats";

/** How long the setup of a single node may take, in milliseconds. */
const startBudgetMs = 30_000;

function configured(text: string, setting: string): Address {
  const address = parseAddress(text);
  if (address !== null) return address;
  throw new UnibusError("invalid", `nats-embedded.${setting}: ${text} is not an address (for example 127.0.0.1:4250)`);
}

/** The TLS files, or null if none is set. Errors: invalid if one is missing or not PEM. */
function tlsFiles({ tls_cert, tls_key }: Config): { cert: string; key: string } | null {
  if (tls_cert === undefined && tls_key === undefined) return null;
  readTlsFiles(tls_cert, tls_key);
  return { cert: resolve(tls_cert ?? ""), key: resolve(tls_key ?? "") };
}

/**
 * Refuses a public address while requests need no signature, and one without TLS. Peers' frames may be encrypted, but
 * their logins and subjects are not.
 */
function checkExposure(site: Site, setting: string, { hostname }: Address, isTls: boolean): void {
  const isPublic = !isLoopback(hostname);
  const { auth = "none" } = site.facts;
  const refuse = (what: string, hint: string) =>
    new UnibusError("invalid", `nats-embedded.${setting} ${hostname}: ${what} (${hint})`);
  if (isPublic && auth !== "enforce") {
    throw refuse(`a public address needs auth.mode=enforce, not ${auth}`, "set auth.mode, or listen on 127.0.0.1");
  }
  if (!isPublic || isTls || site.listener.allowCleartext) return;
  throw refuse("a public address needs TLS", "set --tls-cert and --tls-key, or http.allow_cleartext");
}

/** The disk limits of an earlier start, or null if there are none. A damaged file counts as none. */
function keptLimits(file: string): { readonly bus: number; readonly ctl: number } | null {
  try {
    const { bus, ctl } = JSON.parse(readFileSync(file, "utf8")) as { bus: unknown; ctl: unknown };
    return isBytes(bus) && isBytes(ctl) ? { bus, ctl } : null;
  } catch {
    return null;
  }
}

const isBytes = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;

/**
 * Disk limits of room streams and key-value stores, in bytes. They are kept in a file, because a limit computed from
 * the free disk must not shrink as the server uses that disk.
 */
function diskLimits(folder: string, { bus_bytes_max, ctl_bytes_max }: Config): { bus: number; ctl: number } {
  const file = join(folder, "limits.json");
  const { bavail, bsize } = statfsSync(folder);
  const now = { bus: Math.floor(bavail * bsize * diskShare.bus), ctl: Math.floor(bavail * bsize * diskShare.ctl) };
  const before = keptLimits(file) ?? now;
  const limits = { bus: Math.max(now.bus, before.bus), ctl: Math.max(now.ctl, before.ctl) };
  replaceFile(file, JSON.stringify(limits));
  return { bus: bus_bytes_max ?? limits.bus, ctl: ctl_bytes_max ?? limits.ctl };
}

/** The URLs that peers dial. */
function peerUrls(config: Config, site: Site, listen: Address, ws: Address, isTls: boolean) {
  const publicHost = site.publicUrl === null ? null : new URL(site.publicUrl).hostname;
  // A wildcard address is best dialled by the bus's public name.
  const at = (address: Address): string =>
    /^(0\.0\.0\.0|::)$/.test(address.hostname) && publicHost !== null
      ? `${publicHost}:${address.port}`
      : dialled(address);
  return {
    nats: config.advertise?.nats ?? [`${isTls ? "tls" : "nats"}://${at(listen)}`],
    ws: config.advertise?.ws ?? [
      `${isTls ? "wss" : "ws"}://${at(ws)}`,
      `${site.url().replace(/^http/, "ws")}${webSocketPath}`,
    ],
    isAdvertised: config.advertise !== undefined,
  };
}

/** The URLs for `/info`, without those that a client of `public_url` cannot or must not use. */
function reachable(urls: ReturnType<typeof peerUrls>, { advertise }: Config, { publicUrl }: Site) {
  const isUseful = (url: string): boolean => {
    if (publicUrl === null) return true;
    const isSecure = /^(tls|wss):/.test(url) || publicUrl.startsWith("http:");
    return isSecure && (!isLoopback(new URL(url).hostname) || isLoopback(new URL(publicUrl).hostname));
  };
  return {
    nats: advertise?.nats ?? urls.nats.filter(isUseful),
    ws: advertise?.ws ?? urls.ws.filter(isUseful),
  };
}

/** The two places that serve WebSocket clients: a path of the HTTP port, and a separate address. */
class WebSocketAddresses {
  #port: number;
  readonly route: SocketRoute;

  constructor(
    config: Config,
    private readonly settings: ReturnType<typeof settingsOf>,
    proxy: WebSocketProxy,
  ) {
    const { ws, tls } = settings;
    this.#port = ws.port;
    const bound = (port: number) => {
      this.#port = port;
    };
    this.route = {
      path: webSocketPath,
      origins: config.ws_origins ?? [],
      listener: { ...ws, tls, setting: "nats-embedded.ws", option: "--ws", bound },
      accept: proxy.accept,
    };
  }

  /** The separate address. Its port may be 0 until the bus listens. */
  get own(): Address {
    return { ...this.settings.ws, port: this.#port };
  }
}

/**
 * Unibus's internal credentials: its own, or in a cluster those that every node derives. Kept in a file for host
 * commands.
 */
function internalOf(dataDir: string, cluster: Cluster | null): Internal {
  const file = join(dataDir, "internal.json");
  if (cluster === null) return internalIdentity(file);
  keepInternal(file, cluster.secrets.internal);
  return cluster.secrets.internal;
}

/** Checks the configuration and returns the settings of the server. */
function settingsOf(config: Config, site: Site, folder: string): ServerSettings & { readonly ws: Address } {
  const listen = configured(config.listen ?? listenDefaults.nats, "listen");
  const ws = configured(config.ws ?? listenDefaults.ws, "ws");
  const tls = tlsFiles(config);
  checkExposure(site, "listen", listen, tls !== null);
  checkExposure(site, "ws", ws, tls !== null);
  const namespaces = allNamespaces("nats-embedded", config.namespaces);
  const cluster = clusterOf(config.cluster, site);
  const storeDir = join(folder, "store");
  checkStore(storeDir, cluster);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const internal = internalOf(site.dataDir, cluster);
  return {
    ...{ internal, issuer: issuerOf(internal).nkey, namespaces, listen, ws, wsPort: 0, tls, cluster, storeDir },
    durability: config.durability ?? "os",
    portsDir: portsFolder(folder),
    bytesMax: diskLimits(folder, config),
    connectionsMax: config.connections_max ?? 65_536,
  };
}

/** Provides the data plane with an embedded nats-server. */
export default definePlugin({
  name: "nats-embedded",
  api: 1,
  config: Config,
  setupBudgetMs: quorumTimeoutMs + startBudgetMs,
  provides: { nats: Nats },
  async setup({ config, site, log, signal, onStop, progress }) {
    checkAdvertised("nats-embedded", config.advertise);
    const folder = join(site.dataDir, "nats");
    const settings = settingsOf(config, site, folder);
    const { listen, internal, tls, cluster, namespaces } = settings;
    const configText = (known: Ports | null): string => {
      const at = { ...listen, port: known?.nats ?? listen.port };
      return JSON.stringify(serverConfig({ ...settings, listen: at, wsPort: known?.ws ?? 0 }), null, 1);
    };
    const binary = config.binary === undefined ? await carriedServer(join(folder, "bin")) : chosenServer(config.binary);
    const trouble = new RouteTrouble(log);
    const restart = (why: string) => server.restart(why);
    const store = new StoreTrouble({ storeDir: settings.storeDir, log, signal, restart });
    const onLine = (line: string): void => {
      store.see(line);
      if (cluster !== null) trouble.see(line);
    };
    const restartListeners: ((pid: number) => void)[] = [];
    const server = new NatsProcess({
      ...{ binary, folder, log, storeDir: settings.storeDir, config: configText, onProgress: progress },
      onRestart: (pid) => {
        for (const listener of restartListeners) listener(pid);
      },
      onLine,
    });
    onStop(() => server.stop());
    const ports = await server.start();
    const reload = () => server.signal("SIGHUP");
    process.on("SIGHUP", reload);
    onStop(() => process.off("SIGHUP", reload));
    const proxy = new WebSocketProxy({ target: () => `ws://127.0.0.1:${server.ports?.ws ?? ports.ws}` });
    const sockets = new WebSocketAddresses(config, settings, proxy);
    const urls = () => peerUrls(config, site, { ...listen, port: ports.nats }, sockets.own, tls !== null);
    const own = dialled({ ...listen, port: ports.nats });
    const connections = embeddedConnections(own, { internal, isTls: tls !== null }, log);
    onStop(() => connections.close());
    await connections.get("BUS");
    if (cluster !== null) await untilQuorum(await connections.get("SYS"), { log, signal, progress });
    const standing = new Readiness();
    return {
      services: {
        nats: {
          ...{ issuer: issuerOf(internal), namespaces, isCarried: true },
          connection: (account) => connections.get(account),
          watched: async () => [(await connections.get("SYS")).info?.server_id ?? ""],
          leads: async () => cluster === null || leadsCluster(await connections.get("SYS"), cluster.serverName),
          urls,
          proxy: {
            originOf: (clientId) => proxy.originOf(clientId),
            admitted: (clientId) => proxy.admitted(clientId),
            listeners: () => [sockets.own, { hostname: site.listener.hostname, port: site.listener.port() }],
          },
          pid: () => server.pid,
          onRestart: (listener) => restartListeners.push(listener),
        },
      },
      posture: { durability: settings.durability, cluster: cluster?.name ?? "off" },
      sockets: [sockets.route],
      info: () => ({ ...reachable(urls(), config, site), namespaces: [...namespaces] }),
      async health() {
        if (server.fault !== null) return { ok: false, detail: server.fault };
        const silence = await silenceOf(server.pid, await connections.get("SYS"));
        if (silence !== null) return { ok: false, detail: silence };
        if (!connections.isUp) return { ok: false, detail: "not connected to nats-server" };
        const written = store.health();
        if (!written.ok) return written;
        return cluster === null ? { ok: true } : standing.look(await connections.get("SYS"));
      },
    };
  },
});
