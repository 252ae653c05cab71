import type { Log } from "../../contracts/plugin.ts";

/** How long the same route problem is not logged again, in milliseconds. Nodes retry every second. */
const quietMs = 600_000;

const secret = "use the same nats-embedded.cluster.secret_file on every node";
const authority = "use one certificate authority for all nodes, see nats-embedded.cluster.tls";

/** Route errors of nats-server and their meaning. The first matching row applies. */
const troubles: readonly (readonly [said: RegExp, meaning: string])[] = [
  [/Route Error 'Authorization Violation'/, `this node cannot join: its secret differs from the cluster's (${secret})`],
  [/rid:\d+ - authentication error/, `refused a node: its secret differs from this cluster's (${secret})`],
  [
    /failed to verify certificate|client didn't provide a certificate/,
    `refused a node: its certificate is not from this node's authority (${authority})`,
  ],
  [
    /TLS route handshake error: remote error: tls/,
    `this node cannot join: another node does not trust its certificate's authority (${authority})`,
  ],
  [
    /TLS route handshake error: tls: first record/,
    "refused a node: it does not use TLS (set nats-embedded.cluster.tls on every node)",
  ],
  [
    /TLS route handshake error/,
    "refused a node: the TLS handshake failed (set nats-embedded.cluster.tls on every node)",
  ],
  [
    /Rejecting connection, cluster name/,
    "a node cannot join: it names another cluster (set the same nats-embedded.cluster.name on every node)",
  ],
  [
    /Remote server has a duplicate name/,
    "a node cannot join: its name is taken (set another nats-embedded.cluster.server_name on each node)",
  ],
];

/** Logs in plain words why nodes cannot connect, each reason at most once per interval. */
export class RouteTrouble {
  readonly #log: Log;
  readonly #loggedAt = new Map<string, number>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** Checks a line that nats-server logged. */
  see(line: string): void {
    const [, meaning] = troubles.find(([said]) => said.test(line)) ?? [];
    if (meaning === undefined) return;
    const now = performance.now();
    if (now - (this.#loggedAt.get(meaning) ?? Number.NEGATIVE_INFINITY) < quietMs) return;
    this.#loggedAt.set(meaning, now);
    this.#log.warn(meaning, { said: line });
  }
}
