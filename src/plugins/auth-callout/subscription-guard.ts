/**
 * Kicks connections with more subscriptions than their login granted. The login's JWT contains the limit, but
 * nats-server ignores it in JWTs from auth callout (2.15.1 applies only the account's limit), and subscriptions use its
 * memory. So the guard polls the server's total, which is cheap, and lists the connections with the most subscriptions
 * when the total has changed.
 */
import type { NatsConnection } from "nats";
import type { Log } from "../../contracts/plugin.ts";
import { peerAccount } from "../../nats/accounts.ts";
import { serverReport } from "../../nats/server-report.ts";
import type { Logins } from "./logins.ts";

/** Polling interval for a server's total of subscriptions, in milliseconds. */
const pollMs = 200;
/** Growth of the total since the last list after which the connections are listed immediately. */
const growthMax = 500;
/** Intervals between lists after a smaller change, and without a change, in milliseconds. */
const lookMs = 1_000;
const lookAnywayMs = 10_000;
/** How many connections one list contains, those with the most subscriptions first. */
const lookedAt = 64;
/** How long a server may take to answer, in milliseconds. */
const askTimeoutMs = 2_000;
/**
 * The pause after a poll is at least this many times the poll's duration, so that polling does not load a slow server.
 */
const pauseShare = 4;

/** The dependencies of the guard. */
export interface SubscriptionGuardOptions {
  readonly system: NatsConnection;
  /** Returns the servers whose connections this node watches. */
  readonly watched: () => Promise<readonly string[]>;
  readonly logins: Logins;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** The last observation of one server. */
interface Seen {
  /** Total of subscriptions at the last list. */
  subscriptions: number;
  lookedAtMs: number;
}

/** Watches the subscriptions of every watched server until the signal aborts. Never throws. */
export async function guardSubscriptions(options: SubscriptionGuardOptions): Promise<void> {
  const { watched, log, signal } = options;
  const seen = new Map<string, Seen>();
  for (let pauseMs = pollMs; !signal.aborted; ) {
    await new Promise((resolve) => setTimeout(resolve, pauseMs).unref());
    if (signal.aborted) return;
    const began = performance.now();
    try {
      const servers = await watched();
      for (const server of seen.keys()) if (!servers.includes(server)) seen.delete(server);
      await Promise.all(servers.map((server) => guardServer(server, seen, options)));
    } catch (error) {
      if (!signal.aborted) log.debug("could not count the subscriptions of connections", { cause: error });
    }
    pauseMs = Math.max(pollMs, (performance.now() - began) * pauseShare);
  }
}

async function guardServer(
  server: string,
  seen: Map<string, Seen>,
  { system, logins }: SubscriptionGuardOptions,
): Promise<void> {
  const ask = <T>(what: string, body: object): Promise<T> =>
    serverReport<T>(system, server, { what, body, timeoutMs: askTimeoutMs });
  const { statsz } = await ask<{ statsz?: { subscriptions?: number } }>("STATSZ", {});
  const subscriptions = statsz?.subscriptions ?? 0;
  const last = seen.get(server) ?? { subscriptions: Number.NEGATIVE_INFINITY, lookedAtMs: Number.NEGATIVE_INFINITY };
  seen.set(server, last);
  const growth = subscriptions - last.subscriptions;
  // Another connection's unsubscribes may hide one connection's growth, so an unchanged total is checked, too.
  const dueMs = growth >= growthMax ? 0 : growth === 0 ? lookAnywayMs : lookMs;
  if (performance.now() - last.lookedAtMs < dueMs) return;
  Object.assign(last, { subscriptions, lookedAtMs: performance.now() });
  type Connections = { data?: { connections?: { cid: number; subscriptions?: number }[] } };
  const most = { auth: true, acc: peerAccount, sort: "subs", limit: lookedAt };
  const { data } = await ask<Connections>("CONNZ", most);
  const over = (data?.connections ?? []).filter(({ cid, subscriptions: count = 0 }) => {
    return count > (logins.subscriptionsMax({ server, cid }) ?? Number.POSITIVE_INFINITY);
  });
  // There may be more offenders than one list contains, so list again at the next poll.
  if (over.length === lookedAt) last.subscriptions = Number.NEGATIVE_INFINITY;
  await Promise.all(over.map(({ cid }) => logins.kick({ server, cid }, "too many subscriptions")));
}
