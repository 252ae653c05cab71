import { Events, type NatsConnection, type Subscription } from "nats";
import type { NoticeKind } from "../../contracts/notices.ts";
import type { Log } from "../../contracts/plugin.ts";
import { noticeSubject } from "../../wire/names.ts";
import type { Logins, Place } from "./logins.ts";

/** How often connected peers are looked at for changes that no notice told, in milliseconds. Source: spec 7. */
const lookEveryMs = 1_000;
/** In so many looks each connected peer's permissions are compared once: a notice may be lost. */
const looksForAll = 10;

/** How the names begin under which unibus itself is connected. */
const internalUsers = "unibus-";
/** How many connections one page of nats-server's list brings. */
const pageSize = 1_024;
/** How long a page may take, in milliseconds. */
const pageTimeoutMs = 5_000;

/** Notices after which a peer may do less. After a kick all who stay are told of the new key: they are not looked at. */
const takingAway: ReadonlySet<string> = new Set<NoticeKind>(["removed", "deleted", "revoked"]);

/** What the cutter listens on. */
export interface CutterParts {
  readonly system: NatsConnection;
  readonly bus: NatsConnection;
  /** The connection over which logins are answered. */
  readonly answering: NatsConnection;
  readonly logins: Logins;
  /** Whether a peer is an active user. */
  readonly isActive: (endpoint: string) => Promise<boolean>;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Where an event of the system account happened. */
function placeOf(data: Uint8Array): Place | null {
  const event = JSON.parse(new TextDecoder().decode(data)) as { server?: { id?: string }; client?: { id?: number } };
  const [server, cid] = [event.server?.id, event.client?.id];
  return server === undefined || cid === undefined ? null : { server, cid };
}

/**
 * Watches connections come and go, and cuts those whose peer may do less: when a notice says so, when a login finishes
 * after its permissions shrank, and, for what a command on the host changed, by looking.
 */
export function startCutter(parts: CutterParts): Subscription[] {
  const { system, bus, logins, isActive, log, signal } = parts;
  const onEvent = (act: (place: Place) => unknown) => (error: Error | null, message: { data: Uint8Array }) => {
    const place = error === null ? placeOf(message.data) : null;
    if (place !== null) act(place);
  };
  const subscriptions = [
    system.subscribe("$SYS.ACCOUNT.PEERS.CONNECT", { callback: onEvent((place) => logins.connected(place)) }),
    system.subscribe("$SYS.ACCOUNT.PEERS.DISCONNECT", { callback: onEvent((place) => logins.ended(place)) }),
    bus.subscribe(noticeSubject("*", "*"), {
      callback: (error, { subject }) => {
        const [, , endpoint = "", kind = ""] = subject.split(".");
        if (error === null && takingAway.has(kind)) void logins.recheck(endpoint);
      },
    }),
  ];
  void watchServer(
    system,
    () => logins.clear(),
    () => void reconcile(parts),
  );
  void watchServer(parts.answering, null, () => void reconcile(parts));
  void look(logins, isActive, log, signal);
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
  readonly start: string;
  readonly authorized_user?: string;
}

/**
 * Compares the connections that there are with those that were let in, after nobody listened for a while. What became a
 * connection meanwhile is rechecked; what is in and unknown is cut, and comes back.
 */
export async function reconcile({ system, answering, logins, log, signal }: CutterParts): Promise<void> {
  try {
    await Promise.all([system.flush(), answering.flush()]);
    const since = Date.now();
    const server = system.info?.server_id ?? "";
    for (let offset = 0, total = 1; offset < total && !signal.aborted; offset += pageSize) {
      const body = JSON.stringify({ auth: true, limit: pageSize, offset });
      const reply = await system.request(`$SYS.REQ.SERVER.${server}.CONNZ`, body, { timeout: pageTimeoutMs });
      const { data } = reply.json<{ data?: { total: number; connections?: Listed[] } }>();
      total = data?.total ?? 0;
      for (const { cid, start, authorized_user } of data?.connections ?? []) {
        // One without a user is logging in: it is told by its own event, or times out.
        if (authorized_user === undefined || authorized_user.startsWith(internalUsers)) continue;
        if (logins.has({ server, cid })) void logins.connected({ server, cid });
        else if (Date.parse(start) < since) void logins.kick({ server, cid }, "nobody knows what it was granted");
      }
    }
  } catch (error) {
    if (!signal.aborted) log.warn("the connections that there are could not be compared", { cause: error });
  }
}

async function look(logins: Logins, isActive: CutterParts["isActive"], log: Log, signal: AbortSignal): Promise<void> {
  for (let turn = 0; !signal.aborted; turn = (turn + 1) % looksForAll) {
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs).unref());
    for (const [index, endpoint] of signal.aborted ? [] : logins.endpoints.entries()) {
      try {
        // Asked first: while the store does not answer nobody is cut for it.
        if (!(await isActive(endpoint)) || index % looksForAll === turn) await logins.recheck(endpoint);
      } catch (error) {
        log.warn("a connected peer could not be looked up", { cause: error });
        break;
      }
    }
  }
}
