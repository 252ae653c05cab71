import type { NatsConnection } from "nats";
import type { Log } from "../../contracts/plugin.ts";
import type { Permissions } from "./jwt.ts";

/** How long an admitted login may take to become a connection, in milliseconds. */
const connectWithinMs = 30_000;
/** How long nats-server may take to cut a connection, in milliseconds. */
const kickTimeoutMs = 2_000;

/** Where a connection is: a server's id and the connection's id there. */
export interface Place {
  readonly server: string;
  readonly cid: number;
}

interface Login extends Place {
  readonly endpoint: string;
  readonly granted: ReadonlySet<string>;
  readonly at: number;
  isConnected: boolean;
}

const keyOf = ({ server, cid }: Place): string => `${server}/${cid}`;

/** Everything that permissions allow, as one set. */
function allOf({ publish, subscribe }: Permissions): Set<string> {
  return new Set([...publish.map((subject) => `p ${subject}`), ...subscribe.map((subject) => `s ${subject}`)]);
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

  /** Remembers what a login was answered with. */
  admit(place: Place, endpoint: string, permissions: Permissions): void {
    this.#forgetStale();
    const login: Login = { ...place, endpoint, granted: allOf(permissions), at: this.parts.now(), isConnected: false };
    this.ended(place);
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
    const cut = mine.filter(
      ({ granted, isConnected }) => isConnected && ![...granted].every((subject) => allowed.has(subject)),
    );
    await Promise.all(cut.map((login) => this.kick(login, "it held more than its peer may do")));
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

  #forgetStale(): void {
    const limit = this.parts.now() - connectWithinMs;
    for (const login of this.#byPlace.values()) {
      if (login.at > limit) return;
      if (!login.isConnected) this.ended(login);
    }
  }
}
