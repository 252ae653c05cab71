import { type Authenticator, connect, Events, type NatsConnection } from "nats";
import type { InternalAccount } from "../../contracts/nats.ts";
import type { Log } from "../../contracts/plugin.ts";
import { UnibusError } from "../../wire/errors.ts";
import { natsServerVersionMin, versionAtLeast } from "../../wire/nats-version.ts";
import { natsPayloadBytesMax } from "../../wire/room-stream.ts";

/** Pause between reconnect attempts, with jitter so that nodes do not reconnect at once, in milliseconds. */
const reconnectPause = { ms: 50, jitterMs: 50 } as const;
const connectTimeoutMs = 5_000;

/** Where the servers are and how unibus logs in. */
export interface Access {
  readonly servers: readonly string[];
  readonly credentials: Readonly<Record<InternalAccount, Authenticator>>;
  /** File of the certificate authority for the servers' certificates, or null for the system's authorities. */
  readonly ca: string | null;
}

/** Explains a failed login. `isThere`: a server accepted another account, so the servers are reachable. */
function whyNot(account: InternalAccount, servers: readonly string[], isThere: boolean, cause: unknown): UnibusError {
  const code = (cause as { code?: string } | null)?.code ?? "";
  const where = `nats-external: ${servers.join(", ")}`;
  if (isThere || code === "AUTHORIZATION_VIOLATION" || code === "AUTHENTICATION_EXPIRED") {
    const hint = `check nats-external.credentials.${account}, and auth_users in the servers' auth_callout`;
    return new UnibusError("invalid", `${where}: the ${account} credentials were refused (${hint})`, { cause });
  }
  const hint = "check nats-external.servers, and nats-external.ca if the servers use TLS";
  return new UnibusError("unavailable", `${where}: no server answers (${hint})`, { cause });
}

/** Unibus's own connections to existing servers: one for each account, reconnecting until closed. */
export class Connections {
  readonly #access: Access;
  readonly #log: Log;
  readonly #made = new Map<InternalAccount, Promise<NatsConnection>>();
  readonly #down = new Set<InternalAccount>();
  #wasThere = false;

  constructor(access: Access, log: Log) {
    this.#access = access;
    this.#log = log;
  }

  /** Whether every opened connection is up. */
  get isUp(): boolean {
    return this.#down.size === 0;
  }

  /** Returns the connection of an account. Errors: unavailable; invalid for a server that cannot carry unibus. */
  get(account: InternalAccount): Promise<NatsConnection> {
    const known = this.#made.get(account);
    if (known !== undefined) return known;
    const made = this.#connect(account);
    this.#made.set(account, made);
    made.catch(() => this.#made.delete(account));
    return made;
  }

  async close(): Promise<void> {
    const all = [...this.#made.values()];
    this.#made.clear();
    await Promise.allSettled(all.map(async (one) => (await one).close()));
  }

  /** Connects with the given credentials. */
  dial(authenticator: Authenticator, options: { readonly reconnect?: boolean } = {}): Promise<NatsConnection> {
    const { servers, ca } = this.#access;
    const isTls = servers.some((server) => server.startsWith("tls:"));
    return connect({
      servers: servers.map((server) => server.replace(/^(nats|tls):\/\//, "")),
      authenticator,
      maxReconnectAttempts: -1,
      reconnectTimeWait: reconnectPause.ms,
      reconnectJitter: reconnectPause.jitterMs,
      timeout: connectTimeoutMs,
      ...(isTls ? { tls: ca === null ? {} : { caFile: ca } } : {}),
      ...options,
    });
  }

  async #connect(account: InternalAccount): Promise<NatsConnection> {
    const { servers, credentials } = this.#access;
    const connection = await this.dial(credentials[account]).catch((cause: unknown) => {
      throw whyNot(account, servers, this.#wasThere, cause);
    });
    const { version = "of unknown version", max_payload: bytes = 0 } = connection.info ?? {};
    const refuse = async (what: string): Promise<never> => {
      await connection.close();
      throw new UnibusError("invalid", `nats-external: ${connection.getServer()}: ${what}`);
    };
    if (!versionAtLeast(version, natsServerVersionMin)) {
      await refuse(`nats-server is ${version} (use ${natsServerVersionMin} or newer)`);
    }
    if (bytes < natsPayloadBytesMax) await refuse(`max_payload is ${bytes} (set it to ${natsPayloadBytesMax} or more)`);
    this.#wasThere = true;
    void this.#watch(account, connection);
    return connection;
  }

  async #watch(account: InternalAccount, connection: NatsConnection): Promise<void> {
    for await (const { type } of connection.status()) {
      if (type === Events.Disconnect) this.#down.add(account);
      if (type === Events.Reconnect) {
        this.#down.delete(account);
        this.#log.info("reconnected to a nats-server", { account });
      }
    }
  }
}
