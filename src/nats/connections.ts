import { Events, type NatsConnection } from "nats";
import type { InternalAccount } from "../contracts/nats.ts";
import type { Log } from "../contracts/plugin.ts";
import { UnibusError } from "../wire/errors.ts";
import { natsServerVersionMin, versionAtLeast } from "../wire/nats-version.ts";

/** Unibus's own connections: one for each account, opened on first use. Each reconnects until it is closed. */
export class Connections {
  readonly #made = new Map<InternalAccount, Promise<NatsConnection>>();
  readonly #down = new Set<InternalAccount>();

  /** `dial` connects in an account; its errors are those of `get`. */
  constructor(
    private readonly dial: (account: InternalAccount) => Promise<NatsConnection>,
    private readonly log: Log,
  ) {}

  /** Whether every opened connection is up. */
  get isUp(): boolean {
    return this.#down.size === 0;
  }

  /** Returns the connection of an account. A failed attempt is not kept: the next call dials again. */
  get(account: InternalAccount): Promise<NatsConnection> {
    const known = this.#made.get(account);
    if (known !== undefined) return known;
    const made = this.#connect(account);
    this.#made.set(account, made);
    made.catch(() => this.#made.delete(account));
    return made;
  }

  /** Closes every connection. */
  async close(): Promise<void> {
    const all = [...this.#made.values()];
    this.#made.clear();
    await Promise.allSettled(all.map(async (one) => (await one).close()));
  }

  async #connect(account: InternalAccount): Promise<NatsConnection> {
    const connection = await this.dial(account);
    void this.#watch(account, connection);
    return connection;
  }

  async #watch(account: InternalAccount, connection: NatsConnection): Promise<void> {
    for await (const { type } of connection.status()) {
      if (type === Events.Disconnect) this.#down.add(account);
      if (type === Events.Reconnect) {
        this.#down.delete(account);
        this.log.info("connected to nats-server again", { account });
      }
    }
  }
}

/** Closes a connection to a server that cannot be used, and throws. Errors: invalid, with the given message. */
export async function refuseServer(connection: NatsConnection, message: string): Promise<never> {
  await connection.close();
  throw new UnibusError("invalid", message);
}

/** Checks the version of a connection's server. `where` begins the message. Errors: invalid if it is too old. */
export async function checkVersion(connection: NatsConnection, where = ""): Promise<void> {
  const version = connection.info?.version ?? "of unknown version";
  if (versionAtLeast(version, natsServerVersionMin)) return;
  await refuseServer(connection, `${where}nats-server is ${version} (use ${natsServerVersionMin} or newer)`);
}
