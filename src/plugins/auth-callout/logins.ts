import { createHash } from "node:crypto";
import type { NatsConnection } from "nats";
import type { Log } from "../../contracts/plugin.ts";
import { endpointPattern } from "../../wire/names.ts";
import type { Permissions } from "./jwt.ts";

/** How long an admitted login may take to become a connection, in milliseconds. */
const connectWithinMs = 30_000;
/** Longer than permissions hold, in milliseconds. Source: spec 9. */
const connectionLifeMs = 7_200_000;
/** How long nats-server may take to cut a connection, in milliseconds. */
const kickTimeoutMs = 2_000;

/** How often the connections of a peer that has as many as it may are counted again, in milliseconds. */
const recountMs = 1_000;
/** How many connections of one peer a server lists. */
const listedMax = 1_024;
/** The account of peers. */
const peerAccount = "PEERS";
/** A connection that lives longer than this has answered a ping, in milliseconds: see `clientPing` of nats-embedded. */
const aliveMs = 30_000;
/** How long a login that was answered may take to become a connection before it counts as gone, in milliseconds. */
const settleMs = 3_000;

/** Where a connection is: a server's id and the connection's id there. */
export interface Place {
  readonly server: string;
  readonly cid: number;
}

interface Login extends Place {
  readonly endpoint: string;
  /** All that it may do; only the digest where another node answered. */
  granted: ReadonlySet<string> | string;
  /** How many subscriptions it may have; null where another node answered, until its peer's grant is read. */
  subscriptionsMax: number | null;
  readonly at: number;
  isConnected: boolean;
  /** Whether it was missing when the connections were listed last. */
  isMissed: boolean;
}

const keyOf = ({ server, cid }: Place): string => `${server}/${cid}`;

/** Everything that permissions allow, as one set. */
function allOf({ publish, subscribe }: Pick<Permissions, "publish" | "subscribe">): Set<string> {
  return new Set([...publish.map((subject) => `p ${subject}`), ...subscribe.map((subject) => `s ${subject}`)]);
}

function digestOf(granted: ReadonlySet<string>): string {
  return createHash("sha256")
    .update([...granted].sort().join("\n"))
    .digest("base64url")
    .slice(0, digestLength);
}

/** How long the digest of a grant is, in characters: 132 bits. */
const digestLength = 22;
const userShape = new RegExp(`^(${endpointPattern.slice(1, -1)})\\.([A-Za-z0-9_-]{${digestLength}})$`);

/**
 * The name under which nats-server lists a peer's connection: its endpoint, and a digest of what it was granted, by
 * which a node that did not answer the login tells whether that is what the peer may do now.
 */
export function userName(endpoint: string, permissions: Permissions): string {
  return `${endpoint}.${digestOf(allOf(permissions))}`;
}

/** What the logins depend on. */
export interface LoginParts {
  /** A connection of the system account. */
  readonly system: NatsConnection;
  /** What a peer may do now; null when it may not even connect. */
  readonly permissionsNow: (endpoint: string) => Promise<Permissions | null>;
  readonly log: Log;
  readonly now: () => number;
}

/**
 * The connections that were let in, each with what it was granted. Permissions are frozen for a connection's life, so
 * one that holds more than its peer has now is cut; the peer comes back with less.
 */
export class Logins {
  readonly #byPlace = new Map<string, Login>();
  readonly #byEndpoint = new Map<string, Set<Login>>();
  /** When the connections of a peer that has as many as it may were counted last, and the next count, if one is due. */
  readonly #recounts = new Map<string, { readonly atMs: number; readonly next: Promise<void> | null }>();

  constructor(private readonly parts: LoginParts) {}

  /** Peers that are connected, or about to be. */
  get endpoints(): string[] {
    return [...this.#byEndpoint.keys()];
  }

  /** Connections of a peer. */
  countOf(endpoint: string): number {
    return this.#byEndpoint.get(endpoint)?.size ?? 0;
  }

  /** Whether a connection was let in. */
  has(place: Place): boolean {
    return this.#byPlace.has(keyOf(place));
  }

  /**
   * Takes up a login before anything that decides it is awaited, so that many at once are counted, too. `full`: the
   * peer has `max` connections, and its servers say so; `unsure`: some of them may be nobody's. A client that gave up
   * during its login may leave a connection behind (nats.go does not close it), until that answers no ping.
   */
  async reserve(place: Place, endpoint: string, max: number): Promise<"reserved" | "full" | "unsure"> {
    const same = () => [...(this.#byEndpoint.get(endpoint) ?? [])];
    // One whose client has gone in the meantime becomes no connection, and nothing reports that.
    const since = this.parts.now() - settleMs;
    for (const login of same()) if (!login.isConnected && login.at < since) this.ended(login);
    const isFull = () => same().length >= max;
    const areOld = () => same().every(({ isConnected, at }) => isConnected && this.parts.now() - at > aliveMs);
    if (isFull()) await this.#recount(endpoint);
    if (isFull()) return areOld() ? "full" : "unsure";
    this.#forgetStale();
    this.#remember(place, endpoint, new Set(), false);
    return "reserved";
  }

  /** Remembers what a login was answered with. */
  admit(place: Place, endpoint: string, permissions: Permissions): void {
    this.#remember(place, endpoint, allOf(permissions), false, permissions.subscriptionsMax);
  }

  /** How many subscriptions a connection may have, or null where that is not known. */
  subscriptionsMax(place: Place): number | null {
    return this.#byPlace.get(keyOf(place))?.subscriptionsMax ?? null;
  }

  #remember(
    place: Place,
    endpoint: string,
    granted: Login["granted"],
    isConnected: boolean,
    subscriptionsMax: number | null = null,
  ): void {
    this.ended(place);
    const at = this.parts.now();
    const login: Login = { ...place, endpoint, granted, subscriptionsMax, at, isConnected, isMissed: false };
    this.#byPlace.set(keyOf(place), login);
    const same = this.#byEndpoint.get(endpoint) ?? new Set();
    this.#byEndpoint.set(endpoint, same.add(login));
  }

  /** A login became a connection: what was taken away since it was answered is taken from it now. */
  async connected(place: Place): Promise<void> {
    const login = this.#byPlace.get(keyOf(place));
    if (login === undefined) return;
    login.isConnected = true;
    await this.recheck(login.endpoint);
  }

  /** Takes up a connection whose login another node answered. One that holds anything but what it may now is cut. */
  async adopt(place: Place, user: string): Promise<void> {
    const [, endpoint, digest] = userShape.exec(user) ?? [];
    if (endpoint === undefined || digest === undefined) return this.kick(place, "nobody knows what it was granted");
    // Remembered before its peer's permissions are read, so that it misses no notice meanwhile.
    this.#remember(place, endpoint, digest, true);
    await this.recheck(endpoint);
  }

  /** Forgets the connections of a server that were missing from its list twice, and had come before it was made. */
  settle(server: string, listed: ReadonlySet<number>, since: number): void {
    for (const login of this.#byPlace.values()) {
      if (login.server !== server || !login.isConnected || login.at >= since) continue;
      if (!listed.has(login.cid) && login.isMissed) this.ended(login);
      login.isMissed = !listed.has(login.cid);
    }
  }

  /** A connection is gone. */
  ended(place: Place): void {
    const login = this.#byPlace.get(keyOf(place));
    if (login === undefined) return;
    this.#byPlace.delete(keyOf(place));
    const same = this.#byEndpoint.get(login.endpoint);
    same?.delete(login);
    if (same?.size === 0) this.#byEndpoint.delete(login.endpoint);
  }

  /** Forgets all: their server is gone, and they with it. */
  clear(): void {
    this.#byPlace.clear();
    this.#byEndpoint.clear();
  }

  /** Cuts the connections of a peer that hold more than it may do now. An error while finding out cuts them, too. */
  async recheck(endpoint: string): Promise<void> {
    // One that is admitted from here on may be granted more than is read here; it is rechecked when it connects.
    const mine = [...(this.#byEndpoint.get(endpoint) ?? [])];
    if (mine.length === 0) return;
    const permissions = await this.parts.permissionsNow(endpoint).catch((error: unknown) => {
      this.parts.log.warn("a peer's permissions could not be read: its connections are cut", { cause: error });
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
    await Promise.all(cut.map((login) => this.kick(login, "it held more than its peer may do")));
  }

  /** Disconnects a peer's connections that may use a room, and those of which nobody knows what they may use. */
  async disconnect(endpoint: string, roomSubject: string): Promise<void> {
    const mine = [...(this.#byEndpoint.get(endpoint) ?? [])].filter(({ granted, isConnected }) => {
      return isConnected && (typeof granted === "string" || granted.has(`s ${roomSubject}`));
    });
    await Promise.all(mine.map((login) => this.kick(login, "a room that it may use was restored")));
  }

  /** Cuts a connection. KICK is a request: without a reply subject nats-server ignores it. */
  async kick({ server, cid }: Place, why: string): Promise<void> {
    const endpoint = this.#byPlace.get(keyOf({ server, cid }))?.endpoint ?? null;
    try {
      const body = JSON.stringify({ cid });
      await this.parts.system.request(`$SYS.REQ.SERVER.${server}.KICK`, body, { timeout: kickTimeoutMs });
      this.parts.log.info("cut a connection", { endpoint, why });
    } catch (error) {
      this.parts.log.warn("a connection could not be cut yet", { endpoint, cause: error });
    }
  }

  /** Drops a connection that is not logged in, without an error: its client connects again. */
  async drop({ server, cid }: Place): Promise<void> {
    try {
      const body = JSON.stringify({ cid });
      await this.parts.system.request(`$SYS.REQ.SERVER.${server}.KICK`, body, { timeout: kickTimeoutMs });
    } catch (error) {
      this.parts.log.debug("could not drop a connection that is not logged in", { cause: error });
    }
  }

  /**
   * Forgets the connections of a peer that its servers do not have. Usually their end is reported; but one whose client
   * left during the login is reported as connected only. Once a second: a call gets the next count, none before it.
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
      const body = JSON.stringify({ auth: true, acc: peerAccount, user, limit: listedMax });
      const reply = await this.parts.system.request(`$SYS.REQ.SERVER.${server}.CONNZ`, body, {
        timeout: kickTimeoutMs,
      });
      const { data } = reply.json<{ data?: { connections?: { cid: number }[] } }>();
      if (data === undefined) return;
      const listed = new Set(data.connections?.map(({ cid }) => cid));
      for (const login of logins) {
        if (!listed.has(login.cid) && this.#byPlace.get(keyOf(login)) === login) this.ended(login);
      }
    } catch (error) {
      // They count until they are known to be gone.
      this.parts.log.debug("could not list the connections of a peer", { cause: error });
    }
  }

  #forgetStale(): void {
    const now = this.parts.now();
    for (const login of this.#byPlace.values()) {
      if (login.at > now - connectWithinMs) return;
      // One on another node's server, whose end nobody told: its permissions have expired, and it with them.
      if (!login.isConnected || login.at < now - connectionLifeMs) this.ended(login);
    }
  }
}
