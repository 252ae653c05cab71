/**
 * Cuts connections that have more subscriptions than their login granted. The JWT of a login names the cap, but
 * nats-server ignores that limit in JWTs that come from auth callout (2.15.1 applies the account's limit alone), and
 * subscriptions take its memory. So the number of all subscriptions is polled, which is cheap, and the connections that
 * have the most are looked at when it has grown.
 */
import type { NatsConnection } from "nats";
import type { Log } from "../../contracts/plugin.ts";
import type { Logins } from "./logins.ts";

/** How often the number of all subscriptions of a server is read, in milliseconds. */
const pollMs = 200;
/** Growth since the last look at the connections after which they are looked at again at once. */
const growthMax = 500;
/** How often they are looked at after any smaller change, and without one, in milliseconds. */
const lookMs = 1_000;
const lookAnywayMs = 10_000;
/** How many connections one look takes: those with the most subscriptions. */
const lookedAt = 64;
/** How long a server may take to answer, in milliseconds. */
const askTimeoutMs = 2_000;
/** A poll is followed by a pause of this many times its own length, so that a slow server is not busy with polls. */
const pauseShare = 4;

/** What the guard works with. */
export interface SubscriptionGuardOptions {
  readonly system: NatsConnection;
  /** The servers whose connections are watched here. */
  readonly watched: () => Promise<readonly string[]>;
  readonly logins: Logins;
  /** The account of peers. */
  readonly account: string;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** What was seen of one server. */
interface Seen {
  /** All subscriptions at the last look. */
  subscriptions: number;
  lookedAtMs: number;
}

/** Watches the subscriptions of every watched server until the signal aborts. It never fails. */
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
  { system, logins, account }: SubscriptionGuardOptions,
): Promise<void> {
  const ask = async <T>(what: string, body: object): Promise<T> =>
    (
      await system.request(`$SYS.REQ.SERVER.${server}.${what}`, JSON.stringify(body), { timeout: askTimeoutMs })
    ).json<T>();
  const { statsz } = await ask<{ statsz?: { subscriptions?: number } }>("STATSZ", {});
  const subscriptions = statsz?.subscriptions ?? 0;
  const last = seen.get(server) ?? { subscriptions: Number.NEGATIVE_INFINITY, lookedAtMs: Number.NEGATIVE_INFINITY };
  seen.set(server, last);
  const growth = subscriptions - last.subscriptions;
  // One connection's growth may be hidden by what another one gives up.
  const dueMs = growth >= growthMax ? 0 : growth === 0 ? lookAnywayMs : lookMs;
  if (performance.now() - last.lookedAtMs < dueMs) return;
  Object.assign(last, { subscriptions, lookedAtMs: performance.now() });
  type Connections = { data?: { connections?: { cid: number; subscriptions?: number }[] } };
  const most = { auth: true, acc: account, sort: "subs", limit: lookedAt };
  const { data } = await ask<Connections>("CONNZ", most);
  const over = (data?.connections ?? []).filter(({ cid, subscriptions: count = 0 }) => {
    return count > (logins.subscriptionsMax({ server, cid }) ?? Number.POSITIVE_INFINITY);
  });
  // There may be more of them than one look shows.
  if (over.length === lookedAt) last.subscriptions = Number.NEGATIVE_INFINITY;
  await Promise.all(over.map(({ cid }) => logins.kick({ server, cid }, "it had too many subscriptions")));
}
