import type { NatsConnection } from "nats";
import type { Log } from "../../contracts/plugin.ts";
import { serverReport } from "../../nats/server-report.ts";
import type { Place } from "./logins.ts";

/** Size of one page of nats-server's connection list, and the maximum number of pages. */
const page = { size: 1_024, max: 100 } as const;
/** Timeout for one page, in milliseconds. */
const pageTimeoutMs = 5_000;

/** The dependencies of `dropUnasked`. */
export interface UnaskedOptions {
  readonly system: NatsConnection;
  /** The connection over which nats-server sends auth callout requests. */
  readonly answering: NatsConnection;
  /** Returns the servers whose logins this node answers. */
  readonly watched: () => Promise<readonly string[]>;
  /** Whether nats-server sent a request for a login. */
  readonly wasAsked: (place: Place) => boolean;
  readonly drop: (place: Place) => Promise<void>;
  readonly log: Log;
}

/** A connection as nats-server lists it. */
interface Listed {
  readonly cid: number;
  /** The client library. Present once the client has sent its login. */
  readonly lang?: string;
  /** Absent until the client is logged in. */
  readonly account?: string;
}

/** Lists the logins on a server that wait for an answer. */
async function waitingOn(server: string, system: NatsConnection): Promise<Place[]> {
  const found: Place[] = [];
  for (let offset = 0, total = 1; offset < total && offset < page.size * page.max; offset += page.size) {
    const body = { auth: true, limit: page.size, offset };
    const request = { what: "CONNZ", body, timeoutMs: pageTimeoutMs };
    type Page = { data?: { total: number; connections?: Listed[] } };
    const { data } = await serverReport<Page>(system, server, request);
    total = data?.total ?? 0;
    for (const { cid, lang, account } of data?.connections ?? []) {
      if (lang !== undefined && account === undefined) found.push({ server, cid });
    }
  }
  return found;
}

/**
 * Drops logins that arrived before unibus subscribed to auth callout, for example when nats-server started first.
 * nats-server would answer them with an authorization error after 10 s, after which clients give up. Dropped clients
 * reconnect immediately.
 */
export async function dropUnasked({ system, answering, watched, wasAsked, drop, log }: UnaskedOptions): Promise<void> {
  try {
    await answering.flush();
    const servers = await watched();
    const waiting = (await Promise.all(servers.map((server) => waitingOn(server, system)))).flat();
    // Requests sent before the list was made have arrived by now.
    await answering.flush();
    const unasked = waiting.filter((place) => !wasAsked(place));
    await Promise.all(unasked.map(drop));
    if (unasked.length > 0) log.info(`dropped ${unasked.length} logins that arrived before unibus was ready`);
  } catch (error) {
    log.warn("could not check for logins that arrived before unibus was ready", { cause: error });
  }
}
