import type { NatsConnection } from "nats";
import type { Log } from "../../contracts/plugin.ts";
import type { Place } from "./logins.ts";

/** How many connections one page of nats-server's list brings, and how many pages are read. */
const page = { size: 1_024, max: 100 } as const;
/** How long a page may take, in milliseconds. */
const pageTimeoutMs = 5_000;

/** What is looked at to find logins that nobody was asked about. */
export interface UnaskedOptions {
  readonly system: NatsConnection;
  /** The connection over which nats-server asks who may log in. */
  readonly answering: NatsConnection;
  /** The servers whose logins are answered here. */
  readonly watched: () => Promise<readonly string[]>;
  /** Whether nats-server asked about a login. */
  readonly wasAsked: (place: Place) => boolean;
  readonly drop: (place: Place) => Promise<void>;
  readonly log: Log;
}

/** A connection as nats-server lists it. */
interface Listed {
  readonly cid: number;
  /** The client library. It is known when the client has sent its login. */
  readonly lang?: string;
  /** Absent until the client is logged in. */
  readonly account?: string;
}

/** The logins on a server that wait for an answer. */
async function waitingOn(server: string, system: NatsConnection): Promise<Place[]> {
  const found: Place[] = [];
  for (let offset = 0, total = 1; offset < total && offset < page.size * page.max; offset += page.size) {
    const body = JSON.stringify({ auth: true, limit: page.size, offset });
    const reply = await system.request(`$SYS.REQ.SERVER.${server}.CONNZ`, body, { timeout: pageTimeoutMs });
    const { data } = reply.json<{ data?: { total: number; connections?: Listed[] } }>();
    total = data?.total ?? 0;
    for (const { cid, lang, account } of data?.connections ?? []) {
      if (lang !== undefined && account === undefined) found.push({ server, cid });
    }
  }
  return found;
}

/**
 * Drops the logins that arrived while nobody listened, as when nats-server was there before unibus. It would answer
 * them by an authorization error after 10 s, after which clients give up; so they connect again at once.
 */
export async function dropUnasked({ system, answering, watched, wasAsked, drop, log }: UnaskedOptions): Promise<void> {
  try {
    await answering.flush();
    const servers = await watched();
    const waiting = (await Promise.all(servers.map((server) => waitingOn(server, system)))).flat();
    // What was asked before the list was made is here by then.
    await answering.flush();
    const unasked = waiting.filter((place) => !wasAsked(place));
    await Promise.all(unasked.map(drop));
    if (unasked.length > 0) log.info(`dropped ${unasked.length} logins that arrived before unibus did`);
  } catch (error) {
    log.warn("could not look for logins that arrived before unibus did", { cause: error });
  }
}
