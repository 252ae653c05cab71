/**
 * The table of peer connections: which logins were admitted, on which server, with which permissions.
 * A login is reserved while it is decided, admitted when it is answered, connected when nats-server reports the
 * connection, and removed when that ends. Connections that another node admitted are adopted from nats-server's list.
 * NATS permissions are fixed for the life of a connection, so `recheck` kicks a connection that holds more than its
 * peer may have now. Used by decision.ts (limits), revoker.ts (revocation) and subscription-guard.ts.
 */
import { createHash } from "node:crypto";
import type { NatsConnection } from "nats";
import { audit } from "../../contracts/audit.ts";
import type { PeerConnection } from "../../contracts/connections.ts";
import type { Log } from "../../contracts/plugin.ts";
import { peerAccount } from "../../nats/accounts.ts";
import { serverReport } from "../../nats/server-report.ts";
import { endpointPattern, signalRoot } from "../../wire/names.ts";
import type { Permissions } from "./jwt.ts";

/** How long an admitted login may take to become a connection, in milliseconds. */
const connectWithinMs = 30_000;
/** Longer than the permissions of any login last, in milliseconds. Source: docs/protocol/logins.md. */
const connectionLifeMs = 7_200_000;
/** How long nats-server may take to answer a KICK or CONNZ request, in milliseconds. */
const kickTimeoutMs = 2_000;

/** Minimum interval between counts of the connections of a peer at its limit, in milliseconds. */
const recountMs = 1_000;
/** How many connections of one peer a server lists. */
const listedMax = 1_024;
/** A connection older than this has answered a ping, in milliseconds: see `clientPing` of nats-embedded. */
const aliveMs = 30_000;
/** How long an answered login may take to become a connection before its client counts as gone, in milliseconds. */
const settleMs = 3_000;

/** The place of a connection: a server's id and the connection's id on that server. */
export interface Place {
  readonly server: string;
  readonly cid: number;
}

interface Login extends Place {
  readonly endpoint: string;
  /** Everything that the login may do, or only its digest if another node answered it. */
  granted: ReadonlySet<string> | string;
  /** Subscription limit. Null if another node answered the login, until its peer's grant is read. */
  subscriptionsMax: number | null;
  readonly at: number;
  /** See `PeerConnection`. */
  readonly number: number;
  readonly address: string | null;
  isConnected: boolean;
  /** Whether the connection was missing from the last list. */
  isMissed: boolean;
}

const keyOf = ({ server, cid }: Place): string => `${server}/${cid}`;

const isSignal = (subject: string): boolean => subject.startsWith(`${signalRoot}.`);

/**
 * Collects all subjects that permissions allow into one set, except signals: a member who loses those of a room and
 * keeps the room itself is not disconnected, or an owner could disconnect all members by adding one more than rooms
 * with signals may have. A member who loses the room is disconnected because of its subject.
 */
function allOf({ publish, subscribe }: Pick<Permissions, "publish" | "subscribe">): Set<string> {
  const all = [...publish.map((subject) => ["p", subject]), ...subscribe.map((subject) => ["s", subject])];
  return new Set(all.filter(([, subject = ""]) => !isSignal(subject)).map((one) => one.join(" ")));
}

function digestOf(granted: ReadonlySet<string>): string {
  return createHash("sha256")
    .update([...granted].sort().join("\n"))
    .digest("base64url")
    .slice(0, digestLength);
}

/** Length of the digest of a grant, in characters: 132 bits. */
const digestLength = 22;
const userShape = new RegExp(`^(${endpointPattern.slice(1, -1)})\\.([A-Za-z0-9_-]{${digestLength}})$`);

/**
 * The name under which nats-server lists a peer's connection: its endpoint and a digest of its grant. The digest lets a
 * node that did not answer the login check whether the grant is still current.
 */
export function userName(endpoint: string, permissions: Permissions): string {
  return `${endpoint}.${digestOf(allOf(permissions))}`;
}

/** The dependencies of `Logins`. */
export interface LoginsDeps {
  /** A connection of the system account. */
  readonly system: NatsConnection;
  /** Returns the current permissions of a peer, or null if it may not connect at all. */
  readonly permissionsNow: (endpoint: string) => Promise<Permissions | null>;
  readonly log: Log;
  readonly now: () => number;
}

/**
 * The admitted connections, each with its grant. Permissions are fixed for the life of a connection, so a connection
 * that holds more than its peer has now is kicked, and the peer reconnects with less.
 */
export class Logins {
  readonly #byPlace = new Map<string, Login>();
  readonly #byEndpoint = new Map<string, Set<Login>>();
  /** Counts the logins. */
  #count = 0;
  /** For each peer at its limit: the time of the last count, and the pending count if there is one. */
  readonly #recounts = new Map<string, { readonly atMs: number; readonly next: Promise<void> | null }>();

  constructor(private readonly deps: LoginsDeps) {}

  /** The peers that are connected or about to be. */
  get endpoints(): string[] {
    return [...this.#byEndpoint.keys()];
  }

  /** The number of connections of a peer. */
  countOf(endpoint: string): number {
    return this.#byEndpoint.get(endpoint)?.size ?? 0;
  }

  /** Whether a connection was admitted. */
  has(place: Place): boolean {
    return this.#byPlace.has(keyOf(place));
  }

  /**
   * Reserves a login before anything that decides it is awaited, so that concurrent logins count. `full`: the peer has
   * `max` connections, confirmed by its servers. `unsure`: some of them may be dead, because a client that gives up
   * during its login may leave a connection behind (nats.go does not close it) until that fails a ping.
   */
  async reserve(place: Place, endpoint: string, max: number): Promise<"reserved" | "full" | "unsure"> {
    const same = () => [...(this.#byEndpoint.get(endpoint) ?? [])];
    // A login whose client has disconnected never becomes a connection, and no event reports that.
    const since = this.deps.now() - settleMs;
    for (const login of same()) if (!login.isConnected && login.at < since) this.ended(login);
    const isFull = () => same().length >= max;
    const areOld = () => same().every(({ isConnected, at }) => isConnected && this.deps.now() - at > aliveMs);
    if (isFull()) await this.#recount(endpoint);
    if (isFull()) return areOld() ? "full" : "unsure";
    this.#forgetStale();
    this.#remember(place, endpoint, new Set(), false);
    return "reserved";
  }

  /** Records the grant with which a login was answered. `address` is the client's. */
  admit(place: Place, endpoint: string, permissions: Permissions, address: string): void {
    const { subscriptionsMax } = permissions;
    this.#remember(place, endpoint, allOf(permissions), false, { subscriptionsMax, address });
  }

  /** Lists connections on some servers whose number is above `after`, the oldest first. */
  list(servers: readonly string[], after: number, limit: number): PeerConnection[] {
    const found: PeerConnection[] = [];
    for (const { number, server, endpoint, address, at, isConnected } of this.#byPlace.values()) {
      if (number <= after || !isConnected || !servers.includes(server)) continue;
      found.push({ number, endpoint, address, since: at });
      if (found.length === limit) break;
    }
    return found;
  }

  /** The subscription limit of a connection, or null if it is not known. */
  subscriptionsMax(place: Place): number | null {
    return this.#byPlace.get(keyOf(place))?.subscriptionsMax ?? null;
  }

  #remember(
    place: Place,
    endpoint: string,
    granted: Login["granted"],
    isConnected: boolean,
    known: Partial<Pick<Login, "subscriptionsMax" | "address">> = {},
  ): void {
    this.ended(place);
    const { subscriptionsMax = null, address = null } = known;
    const [at, number] = [this.deps.now(), ++this.#count];
    const facts = { ...place, endpoint, subscriptionsMax, address, at, number };
    const login: Login = { ...facts, granted, isConnected, isMissed: false };
    this.#byPlace.set(keyOf(place), login);
    const same = this.#byEndpoint.get(endpoint) ?? new Set();
    this.#byEndpoint.set(endpoint, same.add(login));
  }

  /** Marks a login as connected, and rechecks it: permissions may have shrunk since it was answered. */
  async connected(place: Place): Promise<void> {
    const login = this.#byPlace.get(keyOf(place));
    if (login === undefined) return;
    login.isConnected = true;
    await this.recheck(login.endpoint);
  }

  /** Adopts a connection whose login another node answered. It is kicked unless its grant matches the current one. */
  async adopt(place: Place, user: string): Promise<void> {
    const [, endpoint, digest] = userShape.exec(user) ?? [];
    if (endpoint === undefined || digest === undefined)
      return this.kick(place, "this node does not know its permissions");
    // Recorded before the permissions are read, so that a notice during that read applies to it.
    this.#remember(place, endpoint, digest, true);
    await this.recheck(endpoint);
  }

  /** Removes connections of a server that were missing from two lists and are older than the second. */
  settle(server: string, listed: ReadonlySet<number>, since: number): void {
    for (const login of this.#byPlace.values()) {
      if (login.server !== server || !login.isConnected || login.at >= since) continue;
      if (!listed.has(login.cid) && login.isMissed) this.ended(login);
      login.isMissed = !listed.has(login.cid);
    }
  }

  /** Removes a connection that has ended. */
  ended(place: Place): void {
    const login = this.#byPlace.get(keyOf(place));
    if (login === undefined) return;
    this.#byPlace.delete(keyOf(place));
    const same = this.#byEndpoint.get(login.endpoint);
    same?.delete(login);
    if (same?.size === 0) this.#byEndpoint.delete(login.endpoint);
  }

  /** Removes all connections, because their server is gone. */
  clear(): void {
    this.#byPlace.clear();
    this.#byEndpoint.clear();
  }

  /** Kicks the connections of a peer that hold more than it may have now, also if its permissions cannot be read. */
  async recheck(endpoint: string): Promise<void> {
    // A login admitted after this line may be granted more than is read here; it is rechecked when it connects.
    const mine = [...(this.#byEndpoint.get(endpoint) ?? [])];
    if (mine.length === 0) return;
    const permissions = await this.deps.permissionsNow(endpoint).catch((error: unknown) => {
      this.deps.log.warn("could not read a peer's permissions: disconnecting it", { cause: error });
      return null;
    });
    const allowed = permissions === null ? new Set<string>() : allOf(permissions);
    const digest = permissions === null ? null : digestOf(allowed);
    const cut = mine.filter((login) => {
      if (login.granted === digest) login.granted = allowed;
      login.subscriptionsMax ??= permissions?.subscriptionsMax ?? null;
      const { granted } = login;
      const isWithin = typeof granted !== "string" && [...granted].every((subject) => allowed.has(subject));
      return login.isConnected && !isWithin;
    });
    await Promise.all(cut.map((login) => this.kick(login, "its permissions were reduced")));
  }

  /** Kicks a peer's connections that may use a room, and those whose grant is unknown. */
  async disconnect(endpoint: string, roomSubject: string): Promise<void> {
    const mine = [...(this.#byEndpoint.get(endpoint) ?? [])].filter(({ granted, isConnected }) => {
      return isConnected && (typeof granted === "string" || granted.has(`s ${roomSubject}`));
    });
    await Promise.all(mine.map((login) => this.kick(login, "a room that it can use was restored")));
  }

  /** Kicks a connection. KICK is a request: nats-server ignores it without a reply subject. */
  async kick({ server, cid }: Place, why: string): Promise<void> {
    const endpoint = this.#byPlace.get(keyOf({ server, cid }))?.endpoint ?? null;
    try {
      await this.#kick({ server, cid });
      audit(this.deps.log, "connection_cut", null, { user: endpoint, why });
    } catch (error) {
      this.deps.log.warn("could not disconnect a peer", { endpoint, cause: error });
    }
  }

  #kick({ server, cid }: Place): Promise<unknown> {
    return serverReport(this.deps.system, server, { what: "KICK", body: { cid }, timeoutMs: kickTimeoutMs });
  }

  /** Drops a connection that is not logged in, without an authorization error, so that its client reconnects. */
  async drop({ server, cid }: Place): Promise<void> {
    try {
      await this.#kick({ server, cid });
    } catch (error) {
      this.deps.log.debug("could not drop a connection that is not logged in", { cause: error });
    }
  }

  /**
   * Removes the connections of a peer that its servers no longer list. Usually nats-server reports the end of a
   * connection, but if the client left during the login it reports only the connect. Runs at most once a second; every
   * caller waits for the next count and never gets an older one.
   */
  #recount(endpoint: string): Promise<void> {
    const nowMs = performance.now();
    const known = this.#recounts.get(endpoint) ?? { atMs: Number.NEGATIVE_INFINITY, next: null };
    if (known.next !== null) return known.next;
    for (const [other, { atMs, next }] of this.#recounts) {
      if (next === null && nowMs - atMs > recountMs) this.#recounts.delete(other);
    }
    const pauseMs = Math.max(0, known.atMs + recountMs - nowMs);
    const next = new Promise((resolve) => setTimeout(resolve, pauseMs)).then(() => {
      this.#recounts.set(endpoint, { atMs: performance.now(), next: null });
      return this.#forgetGone(endpoint);
    });
    this.#recounts.set(endpoint, { ...known, next });
    return next;
  }

  async #forgetGone(endpoint: string): Promise<void> {
    const byList = new Map<string, Login[]>();
    for (const login of this.#byEndpoint.get(endpoint) ?? []) {
      if (!login.isConnected) continue;
      const digest = typeof login.granted === "string" ? login.granted : digestOf(login.granted);
      const list = `${login.server} ${endpoint}.${digest}`;
      byList.set(list, [...(byList.get(list) ?? []), login]);
    }
    await Promise.all([...byList].map(([list, logins]) => this.#forgetUnlisted(list, logins)));
  }

  async #forgetUnlisted(list: string, logins: readonly Login[]): Promise<void> {
    const [server, user] = list.split(" ");
    try {
      const body = { auth: true, acc: peerAccount, user, limit: listedMax };
      const request = { what: "CONNZ", body, timeoutMs: kickTimeoutMs };
      type Listed = { data?: { connections?: { cid: number }[] } };
      const { data } = await serverReport<Listed>(this.deps.system, server ?? "", request);
      if (data === undefined) return;
      const listed = new Set(data.connections?.map(({ cid }) => cid));
      for (const login of logins) {
        if (!listed.has(login.cid) && this.#byPlace.get(keyOf(login)) === login) this.ended(login);
      }
    } catch (error) {
      // They keep counting until they are known to be gone.
      this.deps.log.debug("could not list the connections of a peer", { cause: error });
    }
  }

  #forgetStale(): void {
    const now = this.deps.now();
    for (const login of this.#byPlace.values()) {
      if (login.at > now - connectWithinMs) return;
      // On another node's server, and its end was not reported. Its permissions have expired, which closed it.
      if (!login.isConnected || login.at < now - connectionLifeMs) this.ended(login);
    }
  }
}
