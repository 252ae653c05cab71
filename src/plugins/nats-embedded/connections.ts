import { connect, Events, type NatsConnection, type TlsOptions } from "nats";
import type { InternalAccount } from "../../contracts/nats.ts";
import type { Log } from "../../contracts/plugin.ts";
import { UnibusError } from "../../wire/errors.ts";
import { natsServerVersionMin, versionAtLeast } from "../../wire/nats-version.ts";
import { type Internal, internalUser } from "./internal.ts";

/**
 * Pause between reconnect attempts, in milliseconds. It is short because auth callout must be back before the peers: a
 * login that arrives earlier gets no answer.
 */
const reconnectPauseMs = 3;
const connectTimeoutMs = 5_000;

/** Unibus's own connections: one for each account, opened on first use, reconnecting until closed. */
export class Connections {
  readonly #url: string;
  readonly #internal: Internal;
  readonly #isTls: boolean;
  readonly #log: Log;
  readonly #made = new Map<InternalAccount, Promise<NatsConnection>>();
  readonly #down = new Set<InternalAccount>();

  constructor(url: string, options: { internal: Internal; isTls: boolean; log: Log }) {
    this.#url = url;
    this.#internal = options.internal;
    this.#isTls = options.isTls;
    this.#log = options.log;
  }

  /** Whether every opened connection is up. */
  get isUp(): boolean {
    return this.#down.size === 0;
  }

  /** Returns the connection of an account. Errors: unavailable; invalid if the server is too old. */
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

  async #connect(account: InternalAccount): Promise<NatsConnection> {
    const connection = await connect({
      servers: this.#url,
      user: internalUser(account),
      pass: this.#internal.passwords[account],
      maxReconnectAttempts: -1,
      reconnectTimeWait: reconnectPauseMs,
      reconnectJitter: reconnectPauseMs,
      timeout: connectTimeoutMs,
      // Over loopback to our own child process. The certificate names the bus, not this machine.
      ...(this.#isTls ? { tls: { rejectUnauthorized: false } as TlsOptions } : {}),
      ignoreClusterUpdates: true,
    }).catch((error: unknown) => {
      throw new UnibusError("unavailable", "nats-server does not answer", { cause: error });
    });
    const version = connection.info?.version ?? "of unknown version";
    if (!versionAtLeast(version, natsServerVersionMin)) {
      await connection.close();
      throw new UnibusError("invalid", `nats-server is ${version} (use ${natsServerVersionMin} or newer)`);
    }
    this.#watch(account, connection);
    return connection;
  }

  async #watch(account: InternalAccount, connection: NatsConnection): Promise<void> {
    for await (const { type } of connection.status()) {
      if (type === Events.Disconnect) this.#down.add(account);
      if (type === Events.Reconnect) {
        this.#down.delete(account);
        this.#log.info(`connected to nats-server again`, { account });
      }
    }
  }
}
