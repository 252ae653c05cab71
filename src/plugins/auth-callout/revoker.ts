/**
 * The revoker: disconnects peers whose permissions have shrunk, because NATS freezes permissions at login.
 * Three sources trigger a recheck: a notice (immediately), the CONNECT event of a login (its permissions may have
 * shrunk since it was answered), and polling (for changes by a command on the host, which sends no notice). `reconcile`
 * compares nats-server's connection list with the table in logins.ts after every gap. Started by index.ts.
 */
import { Events, type NatsConnection, type Subscription } from "nats";
import type { NoticeKind } from "../../contracts/notices.ts";
import type { Log } from "../../contracts/plugin.ts";
import { peerAccount } from "../../nats/accounts.ts";
import { serverReport } from "../../nats/server-report.ts";
import { disconnectSubject, noticeSubject } from "../../wire/names.ts";
import type { Logins, Place } from "./logins.ts";

/** Polling interval for changes that no notice announced, in milliseconds. Source: docs/protocol/identity.md. */
const lookEveryMs = 1_000;
/** Every peer's permissions and the connection lists are compared once in this many polls. */
const looksForAll = 10;
/**
 * The pause after a poll is at least this many times the poll's duration, so that polling does not load a slow store.
 */
const pauseShare = 4;

/** Size of one page of nats-server's connection list. */
const pageSize = 1_024;
/** How many connections are compared concurrently. */
const comparedAtOnce = 32;
/** Timeout for one page, in milliseconds. */
const pageTimeoutMs = 5_000;

/** Notices after which a peer may do less. `rekeyed`, which remaining members get after a kick, is not one of them. */
const takingAway: ReadonlySet<string> = new Set<NoticeKind>(["removed", "deleted", "revoked"]);

/** The dependencies of the revoker. */
export interface RevokerDeps {
  readonly system: NatsConnection;
  readonly bus: NatsConnection;
  /** The connection over which logins are answered. */
  readonly answering: NatsConnection;
  /** Returns the servers whose connections this node watches. */
  readonly watched: () => Promise<readonly string[]>;
  readonly logins: Logins;
  /** Whether a peer is an active user. */
  readonly isActive: (endpoint: string) => Promise<boolean>;
  readonly log: Log;
  readonly now: () => number;
  readonly signal: AbortSignal;
}

/** Parses an event of the system account: the connection's place and its user. */
function eventOf(data: Uint8Array): { readonly place: Place; readonly user: string } | null {
  type Event = { server?: { id?: string }; client?: { id?: number; user?: string } };
  const { server, client } = JSON.parse(new TextDecoder().decode(data)) as Event;
  if (server?.id === undefined || client?.id === undefined) return null;
  return { place: { server: server.id, cid: client.id }, user: client.user ?? "" };
}

/** Runs work in the background and logs its failure. */
function begin(work: Promise<void>, log: Log): void {
  work.catch((cause: unknown) => log.warn("could not check the live connections", { cause }));
}

/**
 * Watches connections and kicks those whose peer may now do less: on a notice, when a login finishes after its
 * permissions shrank, and by polling for changes made by a command on the host. Logins that this node answered are
 * watched on every server; logins that another node answered are watched only on this node's own servers.
 */
export function startRevoker(parts: RevokerDeps): Subscription[] {
  const { system, bus, logins, watched, log } = parts;
  const connected = async (place: Place, user: string): Promise<void> => {
    if (logins.has(place)) return logins.connected(place);
    if ((await watched()).includes(place.server)) await logins.adopt(place, user);
  };
  const onEvent =
    (act: (place: Place, user: string) => void) => (error: Error | null, message: { data: Uint8Array }) => {
      const event = error === null ? eventOf(message.data) : null;
      if (event !== null) act(event.place, event.user);
    };
  const subscriptions = [
    system.subscribe(`$SYS.ACCOUNT.${peerAccount}.CONNECT`, {
      callback: onEvent((place, user) => begin(connected(place, user), log)),
    }),
    system.subscribe(`$SYS.ACCOUNT.${peerAccount}.DISCONNECT`, { callback: onEvent((place) => logins.ended(place)) }),
    bus.subscribe(noticeSubject("*", "*"), {
      callback: (error, { subject }) => {
        const [, , endpoint = "", kind = ""] = subject.split(".");
        if (error === null && takingAway.has(kind)) begin(logins.recheck(endpoint), log);
      },
    }),
    bus.subscribe(disconnectSubject("*"), {
      callback: (error, { subject, data }) => {
        const [, , endpoint = ""] = subject.split(".");
        if (error === null) begin(logins.disconnect(endpoint, new TextDecoder().decode(data)), log);
      },
    }),
  ];
  void watchServer(
    system,
    () => logins.clear(),
    () => void reconcile(parts, "all"),
  );
  void watchServer(parts.answering, null, () => void reconcile(parts, "all"));
  void look(parts);
  return subscriptions;
}

async function watchServer(connection: NatsConnection, onDown: (() => void) | null, onUp: () => void): Promise<void> {
  for await (const { type } of connection.status()) {
    if (type === Events.Disconnect) onDown?.();
    if (type === Events.Reconnect) onUp();
  }
}

/** A connection as nats-server lists it. */
interface Listed {
  readonly cid: number;
  readonly authorized_user?: string;
}

/** Lists all peer connections of a server: connection id to user. */
async function connectionsOn(server: string, { system, signal }: RevokerDeps): Promise<Map<number, string>> {
  const found = new Map<number, string>();
  for (let offset = 0, total = 1; offset < total && !signal.aborted; offset += pageSize) {
    const body = { auth: true, acc: peerAccount, limit: pageSize, offset };
    const request = { what: "CONNZ", body, timeoutMs: pageTimeoutMs };
    type Page = { data?: { total: number; connections?: Listed[] } };
    const { data } = await serverReport<Page>(system, server, request);
    total = data?.total ?? 0;
    for (const { cid, authorized_user } of data?.connections ?? []) found.set(cid, authorized_user ?? "");
  }
  return found;
}

/**
 * Reconciles nats-server's connection lists with the table: adopts unknown connections whose grant is current, kicks
 * the others. `all` also rechecks known connections, because events may have been missed.
 */
export async function reconcile(parts: RevokerDeps, which: "all" | "unknown"): Promise<void> {
  const { system, answering, logins, watched, log, now, signal } = parts;
  try {
    await Promise.all([system.flush(), answering.flush()]);
    for (const server of await watched()) {
      const since = now();
      const listed = await connectionsOn(server, parts);
      const compare = async ([cid, user]: [number, string]): Promise<void> => {
        if (!logins.has({ server, cid })) await logins.adopt({ server, cid }, user);
        else if (which === "all") await logins.connected({ server, cid });
      };
      const all = [...listed];
      while (all.length > 0) await Promise.all(all.splice(0, comparedAtOnce).map(compare));
      logins.settle(server, new Set(listed.keys()), since);
    }
  } catch (error) {
    if (!signal.aborted) log.warn("could not check the live connections", { cause: error });
  }
}

/** Polls until the bus stops, comparing each peer's grant with the store. */
async function look(parts: RevokerDeps): Promise<void> {
  const { logins, isActive, log, signal } = parts;
  let pauseMs = lookEveryMs;
  for (let turn = 1; !signal.aborted; turn = (turn + 1) % looksForAll) {
    await new Promise((resolve) => setTimeout(resolve, pauseMs).unref());
    if (signal.aborted) return;
    const begun = performance.now();
    if (turn === 0) await reconcile(parts, "unknown");
    for (const [index, endpoint] of logins.endpoints.entries()) {
      try {
        // Read first: a store that does not answer must not cause a kick.
        if (!(await isActive(endpoint)) || index % looksForAll === turn) await logins.recheck(endpoint);
      } catch (error) {
        log.warn("could not look up a connected peer", { cause: error });
        break;
      }
    }
    pauseMs = Math.max(lookEveryMs, (performance.now() - begun) * pauseShare);
  }
}
