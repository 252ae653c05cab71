import { randomBytes } from "node:crypto";
import type { InternalAccount } from "../../contracts/nats.ts";
import { tls12Suites } from "../../contracts/tls.ts";
import { type Address, urlHost } from "../../wire/address.ts";
import { deliverRoot, userNkey } from "../../wire/names.ts";
import { natsPayloadBytesMax } from "../../wire/room-stream.ts";
import type { Cluster } from "./cluster.ts";
import { type Internal, internalUser } from "./internal.ts";

/** What the server's configuration depends on. */
export interface ServerSettings {
  readonly internal: Internal;
  readonly issuer: string;
  readonly namespaces: readonly string[];
  readonly listen: Address;
  /** Port of the WebSocket listener on loopback, which only unibus's own proxy uses; 0 = any free one. */
  readonly wsPort: number;
  readonly storeDir: string;
  readonly portsDir: string;
  readonly durability: "os" | "disk";
  /** Bytes on disk that the room streams, and the key-value stores, may use. */
  readonly bytesMax: { readonly bus: number; readonly ctl: number };
  /** Certificate and key files for clients, or null for cleartext. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
  /** Connections of peers in all. */
  readonly connectionsMax: number;
  /** This node's part in a cluster, or null for a node alone. */
  readonly cluster: Cluster | null;
}

/** Seconds that a login may take: thousands at once wait for the auth callout. Source: spec 9. */
const loginTimeoutS = 10;
/** Seconds that another node may take to log in to the route port. */
const routeLoginTimeoutS = 5;
/**
 * How often a peer is asked whether it is there, and how many answers may be missing: 15 s after its login it is gone,
 * 18 s later on. A client that gives up during its login may leave its connection open (nats.go does), and each of them
 * is one of the user's: while many come back at once, nobody waits longer for them than that.
 */
const clientPing = { interval: "6s", max: 2 } as const;
/** How often a route is tried, and how many answers may be missing: a node that hangs is given up within 10 s. */
/**
 * Subscriptions of one connection that nats-server allows whatever its login granted: unibus cuts a connection that has
 * more than it was granted, a moment later.
 */
const connectionSubscriptionsMax = 20_000;
/** The longest line of the NATS protocol that a client may send, in bytes. Source: spec 9. */
const controlLineBytesMax = 1_024;
const routePing = { interval: "3s", max: 2 } as const;

/** What holds for every TLS listener. */
const tlsRules = { min_version: "1.2", cipher_suites: tls12Suites } as const;

/** The user name of one node at another. */
const routeUser = "unibus-route";

/**
 * The configuration of the nats-server that unibus carries: three accounts, and what may pass between them.
 * Exports are always wildcards: with a literal subject the isolation of the reply subject breaks.
 * Source: spec 9.
 */
export function serverConfig(settings: ServerSettings): Record<string, unknown> {
  const { internal, namespaces, bytesMax } = settings;
  const users = (account: InternalAccount) => [{ user: internalUser(account), password: internal.passwords[account] }];
  const accounts: InternalAccount[] = ["BUS", "CTL", "AUTH", "SYS"];
  const services = [...namespaces.map((namespace) => `${namespace}.>`), "$JS.ACK.>"];
  const streams = [`${deliverRoot}.>`, "unibus.user.>"];
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
      auth_callout: { issuer: settings.issuer, account: "AUTH", auth_users: accounts.map(internalUser) },
    },
    system_account: "SYS",
    accounts: {
      BUS: {
        users: users("BUS"),
        jetstream: storage(bytesMax.bus),
        exports: [...services.map((service) => ({ service })), ...streams.map((stream) => ({ stream }))],
      },
      CTL: { users: users("CTL"), jetstream: storage(bytesMax.ctl) },
      AUTH: { users: users("AUTH") },
      SYS: { users: users("SYS") },
      // nats-server sends a nonce to sign only where it knows an nkey. This one is nobody's, and is denied like any.
      NONCE: { users: [{ nkey: userNkey(randomBytes(32)) }] },
      PEERS: {
        limits: { max_subscriptions: connectionSubscriptionsMax },
        imports: [
          ...services.map((subject) => ({ service: { account: "BUS", subject } })),
          ...streams.map((subject) => ({ stream: { account: "BUS", subject } })),
        ],
      },
    },
  };
}

/** One connection for all accounts between two nodes, and peers are told of no node but by unibus. Source: spec 11. */
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

/** `host:port` for nats-server: port 0 becomes -1, any free one. */
function address({ hostname, port }: Address): string {
  return `${urlHost(hostname)}:${port === 0 ? -1 : port}`;
}
