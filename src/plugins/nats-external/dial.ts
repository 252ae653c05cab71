import { type Authenticator, connect, type NatsConnection } from "nats";
import type { InternalAccount } from "../../contracts/nats.ts";
import { checkVersion, refuseServer } from "../../nats/connections.ts";
import { UnibusError } from "../../wire/errors.ts";
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

/** Connects to existing servers. Each connection reconnects until it is closed. */
export class Dialler {
  readonly #access: Access;
  #wasThere = false;

  constructor(access: Access) {
    this.#access = access;
  }

  /** Connects in an account. Errors: unavailable; invalid for a server that cannot carry unibus. */
  async connect(account: InternalAccount): Promise<NatsConnection> {
    const { servers, credentials } = this.#access;
    const connection = await this.dial(credentials[account]).catch((cause: unknown) => {
      throw whyNot(account, servers, this.#wasThere, cause);
    });
    const where = `nats-external: ${connection.getServer()}: `;
    await checkVersion(connection, where);
    const { max_payload: bytes = 0 } = connection.info ?? {};
    if (bytes < natsPayloadBytesMax) {
      await refuseServer(connection, `${where}max_payload is ${bytes} (set it to ${natsPayloadBytesMax} or more)`);
    }
    this.#wasThere = true;
    return connection;
  }

  /** Connects with the given credentials. Errors: those of NATS. */
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
}
