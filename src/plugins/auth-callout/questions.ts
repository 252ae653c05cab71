import { Events, type Msg, type NatsConnection, type Subscription } from "nats";
import type { Log } from "../../contracts/plugin.ts";
import { type LoginRequest, readLogin } from "./jwt.ts";
import type { Place } from "./logins.ts";

/** Where nats-server asks who may log in. */
const questionSubject = "$SYS.REQ.USER.AUTH";
/** Of those who hear a question one stands in for a node that has no unibus. */
const standIns = "unibus";

/** How long the unibus of another nats-server may take to say that it is there, in milliseconds. */
const presenceTimeoutMs = 500;
/** How long one that was not there is not asked again, in milliseconds. */
const absenceMs = 500;
/** Servers of which it is known that no unibus is there. */
const absentMax = 64;

/** How many logins are remembered as asked about. */
const askedMax = 10_000;

const presenceSubject = (serverId: string): string => `unibus.node.${serverId}`;

function respond(message: Msg, answer: string | null): void {
  if (answer !== null) message.respond(answer);
}

/**
 * Hears the questions of all nats-servers of a cluster. Each node answers those of the server that it is connected to,
 * so that a node that hangs keeps nobody out elsewhere: a queue group alone would spread them over all nodes. For a
 * server whose unibus is not there, as while it starts, one of the others answers.
 */
export class Questions {
  readonly #connection: NatsConnection;
  readonly #answer: (login: LoginRequest) => Promise<string | null>;
  readonly #log: Log;
  readonly #subscriptions: Subscription[];
  readonly #absentSince = new Map<string, number>();
  /** Logins that were asked about, the oldest first. */
  readonly #asked = new Set<string>();
  readonly #onUp: () => void;
  #presence: Subscription;

  /**
   * `answer` gives the answer to a login, or null if there is to be none. `onUp` is called when questions are heard
   * again after a break.
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
      connection.subscribe(questionSubject, { callback: own }),
      connection.subscribe(questionSubject, { queue: standIns, callback: standIn }),
    ];
    this.#presence = this.#announce();
    void this.#announceAgain();
  }

  /** Whether a login was asked about a short while ago. */
  wasAsked({ server, cid }: Place): boolean {
    return this.#asked.has(`${server}/${cid}`);
  }

  /** Hears no more. */
  stop(): void {
    for (const subscription of [...this.#subscriptions, this.#presence]) subscription.unsubscribe();
  }

  async #take(message: Msg, act: (message: Msg, login: LoginRequest) => Promise<void>): Promise<void> {
    try {
      const login = readLogin(message.string());
      this.#asked.add(`${login.serverId}/${login.cid}`);
      const [oldest] = this.#asked;
      if (this.#asked.size > askedMax && oldest !== undefined) this.#asked.delete(oldest);
      await act(message, login);
    } catch (error) {
      // No answer denies.
      this.#log.warn("a login request could not be read", { cause: error });
    }
  }

  #isOwn({ serverId }: LoginRequest): boolean {
    return serverId === this.#connection.info?.server_id;
  }

  #announce(): Subscription {
    const subject = presenceSubject(this.#connection.info?.server_id ?? "unknown");
    return this.#connection.subscribe(subject, { callback: (_, message) => void message.respond() });
  }

  /** A nats-server that was started again has another id. */
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
      // Only when nobody listens: one that hangs has its node's logins hang.
      if ((error as { code?: unknown }).code !== "503") return true;
      if (this.#absentSince.size >= absentMax) this.#absentSince.clear();
      this.#absentSince.set(serverId, performance.now());
      return false;
    }
  }
}
