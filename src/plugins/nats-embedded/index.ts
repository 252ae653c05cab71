/** The nats-server that unibus carries: writes its configuration, supervises it, connects to it. */
import { mkdirSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { Type } from "@sinclair/typebox";
import { type InternalAccount, Nats } from "../../contracts/nats.ts";
import { definePlugin } from "../../contracts/plugin.ts";
import { type Address, dialled, parseAddress } from "../../wire/address.ts";
import { UnibusError } from "../../wire/errors.ts";
import { builtinNamespaces, namespaceFault } from "../../wire/names.ts";
import { carriedServer, chosenServer } from "./binary.ts";
import { serverConfig } from "./config.ts";
import { Connections } from "./connections.ts";
import { internalIdentity, issuerOf } from "./internal.ts";
import { NatsProcess, type Ports, portsFolder } from "./process.ts";

const Config = Type.Object(
  {
    listen: Type.Optional(Type.String({ description: "HOST:PORT for NATS clients" })),
    ws: Type.Optional(Type.String({ description: "HOST:PORT for WebSocket clients" })),
    namespaces: Type.Optional(Type.Array(Type.String(), { maxItems: 64, description: "further first tokens" })),
    durability: Type.Optional(Type.Union([Type.Literal("os"), Type.Literal("disk")], { description: "os or disk" })),
    bus_bytes_max: Type.Optional(Type.Integer({ minimum: 1_048_576, description: "disk for all rooms, in bytes" })),
    binary: Type.Optional(Type.String({ minLength: 1, description: "another nats-server executable" })),
    connections_max: Type.Optional(Type.Integer({ minimum: 16, description: "connections in all" })),
  },
  { additionalProperties: false },
);

/** The part of the free disk that the room streams may take, and the key-value stores. Source: spec 9. */
const diskShare = { bus: 0.8, ctl: 0.1 } as const;

function configured(text: string, setting: string): Address {
  const address = parseAddress(text);
  if (address !== null) return address;
  throw new UnibusError("invalid", `nats-embedded.${setting}: ${text} is no address (as in 127.0.0.1:4250)`);
}

function allNamespaces(added: readonly string[]): string[] {
  for (const namespace of added) {
    const fault = namespaceFault(namespace);
    if (fault !== null) throw new UnibusError("invalid", `nats-embedded.namespaces: ${namespace}: ${fault}`);
  }
  return [...new Set([...builtinNamespaces, ...added])];
}

/** Provides the data plane by a nats-server of its own. */
export default definePlugin({
  name: "nats-embedded",
  api: 1,
  config: Config,
  provides: { nats: Nats },
  async setup({ config, site, log, onStop }) {
    const folder = join(site.dataDir, "nats");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const internal = internalIdentity(join(site.dataDir, "internal.json"));
    const issuer = issuerOf(internal);
    const namespaces = allNamespaces(config.namespaces ?? []);
    const listen = configured(config.listen ?? "127.0.0.1:4250", "listen");
    const ws = configured(config.ws ?? "127.0.0.1:8480", "ws");
    const durability = config.durability ?? "os";
    const disk = statfsSync(folder);
    const free = disk.bavail * disk.bsize;
    const settings = {
      internal,
      issuer: issuer.nkey,
      namespaces,
      storeDir: join(folder, "store"),
      portsDir: portsFolder(folder),
      durability,
      bytesMax: {
        bus: config.bus_bytes_max ?? Math.floor(free * diskShare.bus),
        ctl: Math.floor(free * diskShare.ctl),
      },
      connectionsMax: config.connections_max ?? 65_536,
    };
    const server = new NatsProcess({
      binary: config.binary === undefined ? await carriedServer(join(folder, "bin")) : chosenServer(config.binary),
      folder,
      log,
      config: (ports: Ports | null) =>
        JSON.stringify(
          serverConfig({
            ...settings,
            listen: { ...listen, port: ports?.nats ?? listen.port },
            ws: { ...ws, port: ports?.ws ?? ws.port },
          }),
          null,
          1,
        ),
    });
    onStop(() => server.stop());
    const ports = await server.start();
    const urls = {
      nats: [`nats://${dialled({ ...listen, port: ports.nats })}`] as const,
      ws: [`ws://${dialled({ ...ws, port: ports.ws })}`] as const,
    };
    const connections = new Connections(urls.nats[0], internal, log);
    onStop(() => connections.close());
    await connections.get("BUS");
    return {
      services: {
        nats: {
          issuer,
          namespaces,
          replicas: 1,
          connection: (account: InternalAccount) => connections.get(account),
          urls: () => urls,
          pid: () => server.pid,
        },
      },
      posture: { durability, cluster: "off" },
      info: () => ({ nats: [...urls.nats], ws: [...urls.ws], namespaces }),
      async health() {
        if (server.pid === null) return { ok: false, detail: "nats-server is being restarted" };
        return connections.isUp ? { ok: true } : { ok: false, detail: "no connection to nats-server" };
      },
    };
  },
});
