import { connect, Events, type NatsConnection, type TlsOptions } from "nats";
import type { InternalAccount } from "../../contracts/nats.ts";
import type { Log } from "../../contracts/plugin.ts";
import { UnibusError } from "../../wire/errors.ts";
import { natsServerVersionMin, versionAtLeast } from "../../wire/nats-version.ts";
import { type Internal, internalUser } from "./internal.ts";

/**
 * Pause between attempts to come back, in milliseconds. Short: a peer that is back before unibus waits for an answer to
 * its login that nobody gives.
 */
const reconnectPauseMs = 3;
const connectTimeoutMs = 5_000;

/** The connections of unibus itself: one for each account, made when first asked for, kept for ever. */
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

  /** Whether every connection that was asked for is there. */
  get isUp(): boolean {
    return this.#down.size === 0;
  }

  /** The connection of an account. Errors: unavailable; invalid when the server is too old. */
  get(account: InternalAccount): Promise<NatsConnection> {
    const known = this.#made.get(account);
    if (known !== undefined) return known;
    const made = this.#connect(account);
    this.#made.set(account, made);
    made.catch(() => this.#made.delete(account));
    return made;
  }

  /** Closes all of them. */
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
      // Over loopback to the child that says it listens there; its certificate names the bus, not this machine.
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
