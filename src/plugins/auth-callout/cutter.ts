import { Events, type NatsConnection, type Subscription } from "nats";
import type { NoticeKind } from "../../contracts/notices.ts";
import type { Log } from "../../contracts/plugin.ts";
import { disconnectSubject, noticeSubject } from "../../wire/names.ts";
import type { Logins, Place } from "./logins.ts";

/** How often connected peers are looked at for changes that no notice told, in milliseconds. Source: spec 7. */
const lookEveryMs = 1_000;
/** In so many looks each connected peer's permissions, and the connections that there are, are compared once. */
const looksForAll = 10;
/** A look is followed by a pause of so many times its own length, so that a slow store is not busy with looks alone. */
const pauseShare = 4;

/** The account of peers. */
export const peerAccount = "PEERS";
/** How many connections one page of nats-server's list brings. */
const pageSize = 1_024;
/** How many connections are compared at once. */
const comparedAtOnce = 32;
/** How long a page may take, in milliseconds. */
const pageTimeoutMs = 5_000;

/** Notices after which a peer may do less. Who stays after a kick is told of the new key, and not looked at for it. */
const takingAway: ReadonlySet<string> = new Set<NoticeKind>(["removed", "deleted", "revoked"]);

/** What the cutter listens on. */
export interface CutterParts {
  readonly system: NatsConnection;
  readonly bus: NatsConnection;
  /** The connection over which logins are answered. */
  readonly answering: NatsConnection;
  /** The servers whose connections are watched here. */
  readonly watched: () => Promise<readonly string[]>;
  readonly logins: Logins;
  /** Whether a peer is an active user. */
  readonly isActive: (endpoint: string) => Promise<boolean>;
  readonly log: Log;
  readonly now: () => number;
  readonly signal: AbortSignal;
}

/** An event of the system account: where it happened, and to whom. */
function eventOf(data: Uint8Array): { readonly place: Place; readonly user: string } | null {
  type Event = { server?: { id?: string }; client?: { id?: number; user?: string } };
  const { server, client } = JSON.parse(new TextDecoder().decode(data)) as Event;
  if (server?.id === undefined || client?.id === undefined) return null;
  return { place: { server: server.id, cid: client.id }, user: client.user ?? "" };
}

/** Runs what waits for nothing. A failure is told. */
function begin(work: Promise<void>, log: Log): void {
  work.catch((cause: unknown) => log.warn("the connections that there are could not be compared", { cause }));
}

/**
 * Watches connections come and go, and cuts those whose peer may do less: when a notice says so, when a login finishes
 * after its permissions shrank, and, for what a command on the host changed, by looking. Logins that this node answered
 * are watched wherever they are; on the servers that are its own also those that another node answered.
 */
export function startCutter(parts: CutterParts): Subscription[] {
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

/** Every connection of peers on a server, by its id there. */
async function connectionsOn(server: string, { system, signal }: CutterParts): Promise<Map<number, string>> {
  const found = new Map<number, string>();
  for (let offset = 0, total = 1; offset < total && !signal.aborted; offset += pageSize) {
    const body = JSON.stringify({ auth: true, acc: peerAccount, limit: pageSize, offset });
    const reply = await system.request(`$SYS.REQ.SERVER.${server}.CONNZ`, body, { timeout: pageTimeoutMs });
    const { data } = reply.json<{ data?: { total: number; connections?: Listed[] } }>();
    total = data?.total ?? 0;
    for (const { cid, authorized_user } of data?.connections ?? []) found.set(cid, authorized_user ?? "");
  }
  return found;
}

/**
 * Compares the connections that there are with those that are known here: what nobody here let in is taken up, or cut.
 * `all`: nobody listened for a while, so that the known ones are rechecked, too.
 */
export async function reconcile(parts: CutterParts, which: "all" | "unknown"): Promise<void> {
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
    if (!signal.aborted) log.warn("the connections that there are could not be compared", { cause: error });
  }
}

/** Compares what peers hold with what the store says, for ever. */
async function look(parts: CutterParts): Promise<void> {
  const { logins, isActive, log, signal } = parts;
  let pauseMs = lookEveryMs;
  for (let turn = 1; !signal.aborted; turn = (turn + 1) % looksForAll) {
    await new Promise((resolve) => setTimeout(resolve, pauseMs).unref());
    if (signal.aborted) return;
    const begun = performance.now();
    if (turn === 0) await reconcile(parts, "unknown");
    for (const [index, endpoint] of logins.endpoints.entries()) {
      try {
        // Asked first: while the store does not answer nobody is cut for it.
        if (!(await isActive(endpoint)) || index % looksForAll === turn) await logins.recheck(endpoint);
      } catch (error) {
        log.warn("a connected peer could not be looked up", { cause: error });
        break;
      }
    }
    pauseMs = Math.max(lookEveryMs, (performance.now() - begun) * pauseShare);
  }
}
