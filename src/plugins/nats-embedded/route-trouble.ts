import type { Log } from "../../contracts/plugin.ts";

/** How long the same route problem is not logged again, in milliseconds. Nodes retry every second. */
const quietMs = 600_000;

const secret = "the same file as on the other nodes belongs to nats-embedded.cluster.secret_file";
const authority = "certificates of all nodes come from one authority, see nats-embedded.cluster.tls";

/** Route errors of nats-server and their meaning. The first matching row applies. */
const troubles: readonly (readonly [said: RegExp, meaning: string])[] = [
  [/Route Error 'Authorization Violation'/, `this node cannot join: its secret is not the cluster's (${secret})`],
  [/rid:\d+ - authentication error/, `a node was not let in: its secret is not this cluster's (${secret})`],
  [
    /failed to verify certificate|client didn't provide a certificate/,
    `a node was not let in: its certificate is not of this node's authority (${authority})`,
  ],
  [
    /TLS route handshake error: remote error: tls/,
    `this node cannot join: another does not know the authority of its certificate (${authority})`,
  ],
  [
    /TLS route handshake error: tls: first record/,
    "a node was not let in: it speaks no TLS (set nats-embedded.cluster.tls on every node)",
  ],
  [
    /TLS route handshake error/,
    "a node was not let in: the TLS handshake failed (set nats-embedded.cluster.tls on every node)",
  ],
  [
    /Rejecting connection, cluster name/,
    "a node cannot join: it names another cluster (nats-embedded.cluster.name is one for all nodes)",
  ],
  [
    /Remote server has a duplicate name/,
    "a node cannot join: two have one name (nats-embedded.cluster.server_name is another on each node)",
  ],
];

/** Logs in plain words why nodes cannot connect, each reason at most once per interval. */
export class RouteTrouble {
  readonly #log: Log;
  readonly #toldAt = new Map<string, number>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** Checks a line that nats-server logged. */
  see(line: string): void {
    const [, meaning] = troubles.find(([said]) => said.test(line)) ?? [];
    if (meaning === undefined) return;
    const now = performance.now();
    if (now - (this.#toldAt.get(meaning) ?? Number.NEGATIVE_INFINITY) < quietMs) return;
    this.#toldAt.set(meaning, now);
    this.#log.warn(meaning, { said: line });
  }
}
