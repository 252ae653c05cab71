import { Events, type Msg, type NatsConnection, type Subscription } from "nats";
import type { Log } from "../../contracts/plugin.ts";
import { LruCache } from "../../lib/lru-cache.ts";
import { SeenSet } from "../../lib/seen-set.ts";
import { calloutSubject } from "../../nats/accounts.ts";
import { type LoginRequest, readLogin } from "./jwt.ts";
import type { Place } from "./logins.ts";

/** Queue group of stand-ins: one member answers for a server whose own node has no running unibus. */
const standIns = "unibus";

/** How long another node's unibus may take to answer a presence request, in milliseconds. */
const presenceTimeoutMs = 500;
/** How long an absent node is not asked again, in milliseconds. */
const absenceMs = 500;
/** How many absent servers are remembered. */
const absentMax = 64;

/** How many requested logins are remembered. */
const askedMax = 10_000;

const presenceSubject = (serverId: string): string => `unibus.node.${serverId}`;

function respond(message: Msg, answer: string | null): void {
  if (answer !== null) message.respond(answer);
}

/**
 * Receives the auth callout requests of all nats-servers in a cluster. Each node answers those of its own server, so
 * that a hung node blocks no logins elsewhere; a queue group alone would spread them over all nodes. If the unibus of a
 * server is not running, for example during its start, one of the other nodes answers.
 */
export class CalloutResponder {
  readonly #connection: NatsConnection;
  readonly #answer: (login: LoginRequest) => Promise<string | null>;
  readonly #log: Log;
  readonly #subscriptions: Subscription[];
  readonly #absentSince = new LruCache<number>(absentMax);
  /** Logins that were requested, oldest first. */
  readonly #asked = new SeenSet(askedMax);
  readonly #onUp: () => void;
  #presence: Subscription;

  /**
   * `answer` returns the answer to a login, or null to send none. `onUp` is called when requests arrive again after a
   * reconnect.
   */
  constructor(
    connection: NatsConnection,
    answer: (login: LoginRequest) => Promise<string | null>,
    { log, onUp }: { readonly log: Log; readonly onUp: () => void },
  ) {
    this.#onUp = onUp;
    this.#connection = connection;
    this.#answer = answer;
    this.#log = log;
    const hear = (act: (message: Msg, login: LoginRequest) => Promise<void>) => (error: Error | null, message: Msg) => {
      if (error === null) void this.#take(message, act);
    };
    const own = hear(async (message, login) => {
      if (this.#isOwn(login)) respond(message, await answer(login));
    });
    const standIn = hear(async (message, login) => {
      if (!this.#isOwn(login) && !(await this.#isThere(login.serverId))) respond(message, await this.#answer(login));
    });
    this.#subscriptions = [
      connection.subscribe(calloutSubject, { callback: own }),
      connection.subscribe(calloutSubject, { queue: standIns, callback: standIn }),
    ];
    this.#presence = this.#announce();
    void this.#announceAgain();
  }

  /** Whether a request for this login arrived recently. */
  wasAsked({ server, cid }: Place): boolean {
    return this.#asked.has(`${server}/${cid}`);
  }

  /** Unsubscribes from all requests. */
  stop(): void {
    for (const subscription of [...this.#subscriptions, this.#presence]) subscription.unsubscribe();
  }

  async #take(message: Msg, act: (message: Msg, login: LoginRequest) => Promise<void>): Promise<void> {
    try {
      const login = readLogin(message.string());
      this.#asked.add(`${login.serverId}/${login.cid}`);
      await act(message, login);
    } catch (error) {
      // Without an answer nats-server denies the login.
      this.#log.warn("could not read a login request", { cause: error });
    }
  }

  #isOwn({ serverId }: LoginRequest): boolean {
    return serverId === this.#connection.info?.server_id;
  }

  #announce(): Subscription {
    const subject = presenceSubject(this.#connection.info?.server_id ?? "unknown");
    return this.#connection.subscribe(subject, { callback: (_, message) => void message.respond() });
  }

  /** Announces itself after each reconnect: a restarted nats-server has a new id. */
  async #announceAgain(): Promise<void> {
    for await (const { type } of this.#connection.status()) {
      if (type !== Events.Reconnect) continue;
      this.#presence.unsubscribe();
      this.#presence = this.#announce();
      this.#onUp();
    }
  }

  async #isThere(serverId: string): Promise<boolean> {
    if (performance.now() - (this.#absentSince.get(serverId) ?? Number.NEGATIVE_INFINITY) < absenceMs) return false;
    try {
      await this.#connection.request(presenceSubject(serverId), "", { timeout: presenceTimeoutMs });
      return true;
    } catch (error) {
      // Absent only if it has no responders. If it hangs, the logins of its node hang with it.
      if ((error as { code?: unknown }).code !== "503") return true;
      this.#absentSince.set(serverId, performance.now());
      return false;
    }
  }
}
