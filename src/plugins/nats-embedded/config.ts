import { randomBytes } from "node:crypto";
import type { InternalAccount } from "../../contracts/nats.ts";
import { tls12Suites } from "../../contracts/tls.ts";
import { internalAccounts, peerAccount } from "../../nats/accounts.ts";
import { crossings } from "../../nats/crossings.ts";
import { type Address, urlHost } from "../../wire/address.ts";
import { userNkey } from "../../wire/names.ts";
import { natsPayloadBytesMax } from "../../wire/room-stream.ts";
import type { Cluster } from "./cluster.ts";
import { type Internal, internalUser } from "./internal.ts";

/** The inputs of the server's configuration. */
export interface ServerSettings {
  readonly internal: Internal;
  readonly issuer: string;
  readonly namespaces: readonly string[];
  readonly listen: Address;
  /** Port of the WebSocket listener on loopback, used only by unibus's proxy. 0 means any free port. */
  readonly wsPort: number;
  readonly storeDir: string;
  readonly portsDir: string;
  readonly durability: "os" | "disk";
  /** Disk space for room streams (`bus`) and key-value stores (`ctl`), in bytes. */
  readonly bytesMax: { readonly bus: number; readonly ctl: number };
  /** Certificate and key files for clients, or null for cleartext. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
  /** Maximum number of peer connections. */
  readonly connectionsMax: number;
  /** This node's cluster settings, or null for a single node. */
  readonly cluster: Cluster | null;
}

/**
 * How long a login may take, in seconds. Thousands at once may wait for auth callout. Source: docs/protocol/logins.md.
 */
const loginTimeoutS = 10;
/** How long another node may take to log in to the route port, in seconds. */
const routeLoginTimeoutS = 5;
/**
 * Ping interval of clients, and how many pongs may be missing: a dead client is detected 15 s after its login, or 18 s
 * later on. A client that gives up during its login may leave its connection open (nats.go does), and that counts
 * towards its user's limit. This bounds how long users wait for such connections when many reconnect at once.
 */
const clientPing = { interval: "6s", max: 2 } as const;
/**
 * Subscription limit that nats-server enforces regardless of the login's grant. unibus kicks a connection that exceeds
 * its own grant a moment later.
 */
const connectionSubscriptionsMax = 20_000;
/** The longest line of the NATS protocol that a client may send, in bytes. Source: docs/protocol/logins.md. */
const controlLineBytesMax = 1_024;
/** Ping interval of routes, and how many pongs may be missing: a node that hangs is given up within 10 s. */
const routePing = { interval: "3s", max: 2 } as const;

/** Rules for every TLS listener. */
const tlsRules = { min_version: "1.2", cipher_suites: tls12Suites } as const;

/** The user name by which nodes log in to each other. */
const routeUser = "unibus-route";

/**
 * Builds the configuration of the embedded nats-server: its accounts, and the subjects that may cross between them.
 * Source: docs/protocol/logins.md.
 */
export function serverConfig(settings: ServerSettings): Record<string, unknown> {
  const { internal, namespaces, bytesMax } = settings;
  const users = (account: InternalAccount) => [{ user: internalUser(account), password: internal.passwords[account] }];
  const crossing = crossings(namespaces);
  const storage = (bytes: number) => ({ max_mem: 0, max_file: bytes, max_streams: -1, max_consumers: -1 });
  const { tls } = settings;
  const files = tls === null ? null : { cert_file: tls.cert, key_file: tls.key, ...tlsRules };
  return {
    listen: address(settings.listen),
    ...(files === null ? {} : { tls: { ...files, handshake_first: "auto" } }),
    websocket: { listen: address({ hostname: "127.0.0.1", port: settings.wsPort }), no_tls: true },
    ports_file_dir: settings.portsDir,
    max_payload: natsPayloadBytesMax,
    max_control_line: controlLineBytesMax,
    max_connections: settings.connectionsMax,
    write_deadline: "10s",
    ping_interval: clientPing.interval,
    ping_max: clientPing.max,
    logtime: false,
    ...(settings.cluster === null ? {} : clusterConfig(settings.cluster)),
    jetstream: {
      store_dir: settings.storeDir,
      max_mem: 0,
      max_file: bytesMax.bus + bytesMax.ctl,
      ...(settings.durability === "disk" ? { sync_interval: "always" } : {}),
    },
    authorization: {
      timeout: loginTimeoutS,
      auth_callout: { issuer: settings.issuer, account: "AUTH", auth_users: internalAccounts.map(internalUser) },
    },
    system_account: "SYS",
    accounts: {
      BUS: {
        users: users("BUS"),
        jetstream: storage(bytesMax.bus),
        exports: crossing.map(({ type, subject }) => ({ [type]: subject })),
      },
      CTL: { users: users("CTL"), jetstream: storage(bytesMax.ctl) },
      AUTH: { users: users("AUTH") },
      SYS: { users: users("SYS") },
      // nats-server sends a nonce only if it knows an nkey. This nkey's seed is discarded and its login denied.
      NONCE: { users: [{ nkey: userNkey(randomBytes(32)) }] },
      [peerAccount]: {
        limits: { max_subscriptions: connectionSubscriptionsMax },
        imports: crossing.map(({ type, subject }) => ({ [type]: { account: "BUS", subject } })),
      },
    },
  };
}

/**
 * The routes of a cluster: one connection for all accounts between two nodes. nats-server does not advertise other
 * nodes to peers; unibus does.
 */
function clusterConfig({ serverName, name, listen, routes, secrets, tls }: Cluster): Record<string, unknown> {
  const login = `${routeUser}:${secrets.route}`;
  const files = tls === null ? null : { cert_file: tls.cert, key_file: tls.key, ca_file: tls.ca, verify: true };
  return {
    server_name: serverName,
    cluster: {
      name,
      listen: address(listen),
      routes: routes.map(({ hostname, port }) => `nats-route://${login}@${urlHost(hostname)}:${port}`),
      authorization: { user: routeUser, password: secrets.route, timeout: routeLoginTimeoutS },
      pool_size: -1,
      no_advertise: true,
      ping_interval: routePing.interval,
      ping_max: routePing.max,
      ...(files === null ? {} : { tls: { ...files, ...tlsRules, timeout: routeLoginTimeoutS } }),
    },
  };
}

/** Formats `host:port` for nats-server: port 0 becomes -1, any free port. */
function address({ hostname, port }: Address): string {
  return `${urlHost(hostname)}:${port === 0 ? -1 : port}`;
}
