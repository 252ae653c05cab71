import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Static, Type } from "@sinclair/typebox";
import type { Site } from "../../contracts/plugin.ts";
import { readTlsFiles } from "../../contracts/tls.ts";
import { type Address, isLoopback, parseAddress } from "../../wire/address.ts";
import { UnibusError } from "../../wire/errors.ts";
import { subjectTokenPattern } from "../../wire/names.ts";
import { type ClusterSecrets, deriveSecrets, readClusterSecret } from "./secret.ts";

const Name = Type.String({ pattern: `^${subjectTokenPattern}$`, maxLength: 64 });
const File = Type.String({ minLength: 1 });

/** The settings that make a node part of a cluster. */
export const ClusterConfig = Type.Object(
  {
    server_name: Name,
    name: Name,
    listen: Type.Optional(Type.String()),
    routes: Type.Array(Type.String(), { minItems: 2, maxItems: 64 }),
    secret_file: Type.Optional(File),
    secret_env: Type.Optional(Type.String({ pattern: "^[A-Za-z_][A-Za-z0-9_]*$" })),
    tls: Type.Optional(
      Type.Object(
        { cert: Type.Optional(File), key: Type.Optional(File), ca: Type.Optional(File) },
        { additionalProperties: false },
      ),
    ),
  },
  {
    additionalProperties: false,
    description: "this node's name, the cluster's name, and the routes between the nodes",
  },
);

type ClusterConfig = Static<typeof ClusterConfig>;

/** A node's cluster settings, checked. */
export interface Cluster {
  readonly serverName: string;
  readonly name: string;
  readonly listen: Address;
  readonly routes: readonly Address[];
  readonly secrets: ClusterSecrets;
  readonly tls: { readonly cert: string; readonly key: string; readonly ca: string } | null;
}

/** Default address for connections from other nodes. */
const routeListenDefault = "127.0.0.1:6250";

const refuse = (setting: string, what: string, hint: string): UnibusError =>
  new UnibusError("invalid", `nats-embedded.cluster${setting}: ${what} (${hint})`);

function routeOf(url: string): Address {
  const address = parseAddress(/^nats-route:\/\/([^/@]+)\/?$/.exec(url)?.[1] ?? "");
  if (address !== null && address.port > 0) return address;
  throw refuse(".routes", `${url} is not a route`, "for example nats-route://10.0.0.1:6250");
}

function listenOf(text: string): Address {
  const address = parseAddress(text);
  if (address !== null && address.port > 0) return address;
  throw refuse(".listen", `${text} is not an address with a port`, `for example ${routeListenDefault}`);
}

/** The files of route TLS, or null for a cluster on loopback without TLS. */
function routeTls({ tls = {} }: ClusterConfig, addresses: readonly Address[]): Cluster["tls"] {
  const { cert, key, ca } = tls;
  if (cert === undefined && key === undefined && ca === undefined) {
    const open = addresses.find(({ hostname }) => !isLoopback(hostname));
    if (open === undefined) return null;
    throw refuse(".tls", `routes to other machines (${open.hostname}) need TLS`, "set cert, key and ca");
  }
  for (const [name, file] of Object.entries({ cert, key, ca })) {
    if (file === undefined) throw refuse(`.tls.${name}`, "missing", "set cert, key and ca");
    if (!existsSync(file)) throw refuse(`.tls.${name}`, `${file} does not exist`, "name a PEM file");
  }
  try {
    readTlsFiles(cert, key);
  } catch (error) {
    const what = `${cert} and ${key} are not a certificate and its key`;
    throw new UnibusError("invalid", refuse(".tls", what, "use two PEM files that belong together").message, {
      cause: error,
    });
  }
  return { cert: resolve(cert ?? ""), key: resolve(key ?? ""), ca: resolve(ca ?? "") };
}

/** Checks that nodes share what a cluster needs: signed requests, and a store that all of them see. */
function checkFacts({ auth = "none", store_nodes = "one" }: Site["facts"]): void {
  if (auth !== "enforce")
    throw refuse("", `a cluster needs auth.mode enforce, not ${auth}`, "set auth.mode to enforce");
  if (store_nodes === "many") return;
  throw refuse(
    "",
    "the store in this plan supports a single node only",
    "use the shared one with --flag decentralized=on",
  );
}

/**
 * A node's cluster settings, or null for a single node. Errors: invalid, naming the setting.
 * Source: docs/protocol/requests.md.
 */
export function clusterOf(config: ClusterConfig | undefined, site: Site): Cluster | null {
  if (config === undefined) return null;
  checkFacts(site.facts);
  const { server_name: serverName, name, secret_file: file, secret_env: variable } = config;
  const listen = listenOf(config.listen ?? routeListenDefault);
  const routes = config.routes.map(routeOf);
  if (new Set(config.routes).size < config.routes.length) {
    throw refuse(".routes", "a route is listed twice", "list each node once");
  }
  const tls = routeTls(config, [listen, ...routes]);
  const secret = readClusterSecret({ ...(file === undefined ? {} : { file }), ...(variable ? { variable } : {}) });
  return { serverName, name, listen, routes, secrets: deriveSecrets(secret), tls };
}

/** This folder exists only in the store of a cluster node. */
const metaFolder = join("jetstream", "SYS", "_js_", "_meta_");

/**
 * Checks that a store and its mode match. nats-server deletes the streams of a single node when it joins a cluster, and
 * a single node does not see the streams of a cluster. Errors: invalid.
 */
export function checkStore(storeDir: string, cluster: Cluster | null): void {
  const isClustered = existsSync(join(storeDir, metaFolder));
  if (cluster === null && isClustered) {
    throw refuse(
      "",
      "this data directory belongs to a node of a cluster",
      "configure the same cluster, or restore a backup",
    );
  }
  if (cluster === null || isClustered) return;
  for (const account of ["BUS", "CTL"]) {
    const folder = join(storeDir, "jetstream", account, "streams");
    if (!existsSync(folder) || readdirSync(folder).length === 0) continue;
    const hint = "use an empty one with --data, and restore a backup into it";
    throw refuse("", "this data directory belongs to a standalone node, whose streams a cluster would delete", hint);
  }
}
