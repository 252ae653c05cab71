import { connect, type NatsConnection, type TlsOptions } from "nats";
import type { InternalAccount } from "../../contracts/nats.ts";
import type { Log } from "../../contracts/plugin.ts";
import { Connections, checkVersion } from "../../nats/connections.ts";
import { UnibusError } from "../../wire/errors.ts";
import { type Internal, internalUser } from "./internal.ts";

/**
 * Pause between reconnect attempts, in milliseconds. It is short because auth callout must be back before the peers: a
 * login that arrives earlier gets no answer.
 */
const reconnectPauseMs = 3;
const connectTimeoutMs = 5_000;

/** How unibus logs in to its own nats-server. */
export interface EmbeddedLogin {
  readonly internal: Internal;
  readonly isTls: boolean;
}

/**
 * Unibus's connections to this machine's embedded nats-server. `url` is HOST:PORT. Errors of a connection: unavailable;
 * invalid if the server is too old.
 */
export function embeddedConnections(url: string, login: EmbeddedLogin, log: Log): Connections {
  return new Connections((account) => dial(url, account, login), log);
}

async function dial(
  url: string,
  account: InternalAccount,
  { internal, isTls }: EmbeddedLogin,
): Promise<NatsConnection> {
  const connection = await connect({
    servers: url,
    user: internalUser(account),
    pass: internal.passwords[account],
    maxReconnectAttempts: -1,
    reconnectTimeWait: reconnectPauseMs,
    reconnectJitter: reconnectPauseMs,
    timeout: connectTimeoutMs,
    // Over loopback to our own child process. The certificate names the bus, not this machine.
    ...(isTls ? { tls: { rejectUnauthorized: false } as TlsOptions } : {}),
    ignoreClusterUpdates: true,
  }).catch((error: unknown) => {
    throw new UnibusError("unavailable", "nats-server does not answer", { cause: error });
  });
  await checkVersion(connection);
  return connection;
}
