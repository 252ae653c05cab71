import type { NatsConnection } from "nats";
import type { Context } from "../../contracts/plugin.ts";
import { serverReport } from "../../nats/server-report.ts";
import { UnibusError } from "../../wire/errors.ts";

/** How long nats-server may take to report its state, in milliseconds. Shorter than a health check. */
const askTimeoutMs = 1_500;

/** How long a starting node waits for the others, in milliseconds. */
export const quorumTimeoutMs = 120_000;
/** How often a starting node checks for the others, in milliseconds. */
const lookEveryMs = 50;
/** It logs that it is waiting once in this many checks. */
const looksForWord = 60;

interface Answer<T> {
  readonly data?: T;
  readonly error?: { readonly description?: string };
}

/**
 * Requests a report from nats-server. Errors: unavailable, or those of the connection if it does not answer in time.
 */
export async function ask<T>(system: NatsConnection, what: string, body: unknown): Promise<T> {
  const request = { what, body, timeoutMs: askTimeoutMs };
  const { data, error } = await serverReport<Answer<T>>(system, system.info?.server_id ?? "", request);
  if (data !== undefined) return data;
  throw new UnibusError(
    "unavailable",
    `nats-server did not report ${what}: ${error?.description ?? "no reason given"}`,
  );
}

interface JetStream {
  readonly meta_cluster?: { readonly cluster_size?: number; readonly leader?: string };
}

/** Whether a node's nats-server leads its cluster. Errors: those of `quorumOf`. */
export async function leadsCluster(system: NatsConnection, serverName: string): Promise<boolean> {
  return (await ask<JetStream>(system, "JSZ", {})).meta_cluster?.leader === serverName;
}

/** Whether a node has a quorum and is up to date with its decisions. */
export interface Quorum {
  readonly ok: boolean;
  /** Safe to show. */
  readonly detail: string;
}

/**
 * Checks a node's quorum through its own nats-server.
 * Shape: `ok` requires a leader, an up-to-date state, and routes to enough nodes for a majority.
 * Errors: unavailable, or those of the connection, if nats-server does not answer in time.
 */
export async function quorumOf(system: NatsConnection): Promise<Quorum> {
  const [health, jetStream, routes] = await Promise.all([
    ask<{ status: string; error?: string }>(system, "HEALTHZ", { "js-meta-only": true }),
    ask<JetStream>(system, "JSZ", {}),
    ask<{ routes?: readonly { remote_id: string }[] }>(system, "ROUTEZ", {}),
  ]);
  const size = jetStream.meta_cluster?.cluster_size ?? 0;
  const here = 1 + new Set(routes.routes?.map(({ remote_id }) => remote_id)).size;
  const detail = `${here} of ${Math.max(size, here)} nodes are connected`;
  if (here <= size / 2) return { ok: false, detail: `no quorum: ${detail}` };
  return health.status === "ok" ? { ok: true, detail } : { ok: false, detail: `${detail}; ${health.error}` };
}

/**
 * Waits until a starting node has a quorum, and logs what it is waiting for.
 * Errors: unavailable on timeout, with the number of nodes that are present.
 */
export async function untilQuorum(
  system: NatsConnection,
  { log, signal, progress }: Pick<Context<unknown>, "log" | "signal" | "progress">,
): Promise<void> {
  const begun = performance.now();
  for (let look = 1; !signal.aborted; look++) {
    const { ok, detail } = await quorumOf(system).catch(() => ({ ok: false, detail: "nats-server does not answer" }));
    if (ok) return log.info("the cluster has a quorum", { detail });
    if (performance.now() - begun > quorumTimeoutMs) {
      throw new UnibusError(
        "unavailable",
        `${detail} (start the others, and check the log for nodes that cannot join)`,
      );
    }
    progress(`waiting for the other nodes of the cluster: ${detail}`);
    if (look % looksForWord === 0) log.warn("waiting for the other nodes of the cluster", { detail });
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
  }
}
