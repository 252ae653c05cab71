/**
 * Cluster settings: which are refused, the nats-server configuration that they produce, and that a data directory of a
 * standalone node is never used in a cluster or the reverse.
 */
import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import type { Log, Site } from "../../../src/contracts/plugin.ts";
import { checkStore, clusterOf } from "../../../src/plugins/nats-embedded/cluster.ts";
import { serverConfig } from "../../../src/plugins/nats-embedded/config.ts";
import { RouteTrouble } from "../../../src/plugins/nats-embedded/route-trouble.ts";
import { Authority } from "../../support/certificates.ts";
import { Folder } from "../../support/executable.ts";

const siteOf = (facts: Site["facts"]) => ({ facts }) as unknown as Site;
const shared = siteOf({ auth: "enforce", store_nodes: "many" });

/** A valid cluster setting, with a secret in the folder. */
function settingIn(folder: Folder) {
  const secret_file = folder.file("secret");
  writeFileSync(secret_file, `${Buffer.alloc(32, 7).toString("base64")}\n`, { mode: 0o600 });
  const routes = [1, 2, 3].map((node) => `nats-route://127.0.0.1:625${node}`);
  return { server_name: "a", name: "c", listen: "127.0.0.1:6251", routes, secret_file };
}

describe("a cluster is refused, with the setting and the fix,", () => {
  type Setting = NonNullable<Parameters<typeof clusterOf>[0]>;
  const wide = ["nats-route://10.0.0.1:6259", "nats-route://10.0.0.2:6259"];
  const cases: readonly (readonly [string, Partial<Setting>, Site, string])[] = [
    [
      "in soft mode",
      {},
      siteOf({ auth: "soft", store_nodes: "many" }),
      ": a cluster needs auth.mode enforce, not soft",
    ],
    ["without auth", {}, siteOf({ store_nodes: "many" }), ": a cluster needs auth.mode enforce, not none"],
    [
      "on SQLite",
      {},
      siteOf({ auth: "enforce" }),
      ": the store in this plan supports a single node only (use the shared",
    ],
    [
      "without TLS beyond loopback",
      { routes: wide },
      shared,
      ".tls: routes to other machines (10.0.0.1) need TLS (set",
    ],
    [
      "without TLS on a public address",
      { listen: "0.0.0.0:6259" },
      shared,
      ".tls: routes to other machines (0.0.0.0) need TLS (set cert, key and ca)",
    ],
    [
      "with a certificate but no key",
      { tls: { cert: "/dev/null" } },
      shared,
      ".tls.key: missing (set cert, key and ca)",
    ],
    ["with missing TLS files", { tls: { cert: "/a", key: "/b", ca: "/c" } }, shared, ".tls.cert: /a does not exist"],
    [
      "with invalid TLS files",
      { tls: { cert: "/dev/null", key: "/dev/null", ca: "/dev/null" } },
      shared,
      ".tls: /dev/null and /dev/null are not a certificate and its key (use two PEM files",
    ],
    ["with a password in a route", { routes: ["nats-route://u:p@127.0.0.1:1", wide[0] ?? ""] }, shared, ".routes: "],
    ["with an invalid route", { routes: ["nats://127.0.0.1:1", wide[0] ?? ""] }, shared, ".routes: nats://127.0.0.1"],
    ["with a duplicate route", { routes: [wide[0] ?? "", wide[0] ?? ""] }, shared, ".routes: a route is listed twice"],
    [
      "with a random port",
      { listen: "127.0.0.1:0" },
      shared,
      ".listen: 127.0.0.1:0 is not an address with a port (for example",
    ],
  ];
  test.each(cases)("%s", (_, otherwise, site, message) => {
    using folder = new Folder();
    const setting = { ...settingIn(folder), ...otherwise };
    expect(() => clusterOf(setting, site)).toThrow(`nats-embedded.cluster${message}`);
  });
});

test("a standalone node has no cluster configuration", () => {
  expect(clusterOf(undefined, siteOf({}))).toBeNull();
});

test("nats-server gets the secret's password, mutual TLS, one route for all accounts, and no_advertise", () => {
  using folder = new Folder();
  using authority = new Authority();
  const tls = { ...authority.issue("node"), ca: authority.file };
  const cluster = clusterOf({ ...settingIn(folder), tls }, shared);
  const at = { hostname: "127.0.0.1", port: 0 };
  const written = serverConfig({
    ...{
      cluster,
      internal: cluster?.secrets.internal ?? ({} as never),
      issuer: "",
      namespaces: [],
      listen: at,
      wsPort: 0,
    },
    ...{ storeDir: "", portsDir: "", durability: "os", bytesMax: { bus: 1, ctl: 1 }, tls: null },
    connectionsMax: 1,
  });
  const password = cluster?.secrets.route ?? "";
  expect(password).toMatch(/^[0-9a-f]{64}$/);
  expect(written.server_name).toBe("a");
  expect(written.cluster).toMatchObject({
    ...{ name: "c", listen: "127.0.0.1:6251", pool_size: -1, no_advertise: true },
    authorization: { user: "unibus-route", password },
    routes: [1, 2, 3].map((node) => `nats-route://unibus-route:${password}@127.0.0.1:625${node}`),
    tls: { cert_file: tls.cert, key_file: tls.key, ca_file: tls.ca, verify: true },
  });
});

describe("a data directory keeps its kind:", () => {
  const cluster = (folder: Folder) => clusterOf(settingIn(folder), shared);

  test("a new one can become standalone or clustered", () => {
    using folder = new Folder();
    checkStore(folder.path, null);
    checkStore(folder.path, cluster(folder));
  });

  test("that of a standalone node, whose streams nats-server would delete, cannot join a cluster", () => {
    using folder = new Folder();
    mkdirSync(folder.file("jetstream", "CTL", "streams"), { recursive: true });
    checkStore(folder.path, cluster(folder));
    mkdirSync(folder.file("jetstream", "CTL", "streams", "KV_UNIBUS_users"));
    checkStore(folder.path, null);
    expect(() => checkStore(folder.path, cluster(folder))).toThrow(
      "belongs to a standalone node, whose streams a cluster would",
    );
  });

  test("that of a cluster node, whose streams a standalone node would not see, cannot become standalone", () => {
    using folder = new Folder();
    mkdirSync(folder.file("jetstream", "SYS", "_js_", "_meta_"), { recursive: true });
    mkdirSync(folder.file("jetstream", "BUS", "streams", "UNIBUS_1"), { recursive: true });
    checkStore(folder.path, cluster(folder));
    expect(() => checkStore(folder.path, null)).toThrow(
      "this data directory belongs to a node of a cluster (configure the same",
    );
  });
});

describe("a nats-server log line about routes", () => {
  const warningsFor = (lines: readonly string[]): string[] => {
    const words: string[] = [];
    const trouble = new RouteTrouble({ warn: (word: string) => words.push(word) } as unknown as Log);
    for (const line of lines) trouble.see(line);
    return words;
  };

  test.each([
    ["[ERR] 127.0.0.1:47983 - rid:12 - Route Error 'Authorization Violation'", "this node cannot join: its secret"],
    ['[ERR] 127.0.0.1:59222 - rid:16 - authentication error - User "unibus-route"', "refused a node: its secret"],
    [
      "[ERR] 127.0.0.1:1 - rid:17 - TLS route handshake error: tls: failed to verify certificate: x509: certificate signed",
      "refused a node: its certificate",
    ],
    [
      "[ERR] 127.0.0.1:1 - rid:15 - TLS route handshake error: remote error: tls: bad certificate",
      "this node cannot join: another node does not trust",
    ],
    [
      "[ERR] 127.0.0.1:1 - rid:33 - TLS route handshake error: tls: first record does not look like a TLS handshake",
      "refused a node: it does not use TLS",
    ],
    [
      '[ERR] 127.0.0.1:1 - rid:19 - Rejecting connection, cluster name "x" does not match "y"',
      "a node cannot join: it",
    ],
    ['[ERR] 127.0.0.1:1 - rid:15 - Remote server has a duplicate name: "n1"', "a node cannot join: its name is taken"],
  ])("is explained in words, once: %s", (line, meaning) => {
    const words = warningsFor([line, line, line]);
    expect(words).toHaveLength(1);
    expect(words[0]).toStartWith(meaning);
    expect(words[0]).toMatch(/\(.+\)$/);
  });

  test("is not reported when it is harmless or about a client", () => {
    const quiet = [
      "[INF] 127.0.0.1:1 - rid:10 - Route connection created",
      "[ERR] Error trying to connect to route (attempt 1): dial tcp 127.0.0.1:1: connect: connection refused",
      '[ERR] 127.0.0.1:1 - cid:12 - authentication error - User "ana"',
      "[INF] 127.0.0.1:1 - rid:10 - Router connection closed: Duplicate Route",
    ];
    expect(warningsFor(quiet)).toEqual([]);
  });
});
