/**
 * Connects a command that moves data to a nats-server at a given address. It starts none, and logs in as a node does.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Type } from "@sinclair/typebox";
import { connect, type NatsConnection, type TlsOptions } from "nats";
import { type InternalAccount, Nats } from "../../contracts/nats.ts";
import { definePlugin } from "../../contracts/plugin.ts";
import { Connections, checkVersion } from "../../nats/connections.ts";
import { type Address, isLoopback, parseAddress, urlHost } from "../../wire/address.ts";
import { UnibusError } from "../../wire/errors.ts";
import { natsForCommands } from "./for-commands.ts";
import { Config } from "./index.ts";
import { type Internal, internalIdentity, internalUser } from "./internal.ts";

const connectTimeoutMs = 5_000;
/** How often a broken connection is retried before it counts as lost. */
const reconnectsMax = 20;

/** The settings of the plugin's row, plus the address to dial. */
const DialConfig = Type.Object(
  { ...Config.properties, dial: Type.String(), dial_ca: Type.Optional(Type.String({ minLength: 1 })) },
  { additionalProperties: false },
);

/** The address to dial and its TLS options, or null for cleartext on this machine. */
interface Target {
  readonly address: Address;
  readonly tls: TlsOptions | null;
}

/** Parses the target. Errors: invalid for a bad URL, or for another machine without a CA. */
function targetOf(url: string, ca: string | undefined): Target {
  const [, scheme, rest = ""] = /^(nats|tls):\/\/([^/@]+)\/?$/.exec(url) ?? [];
  const address = parseAddress(rest);
  if (address === null)
    throw new UnibusError("invalid", `${url} is not a NATS URL (for example nats://127.0.0.1:4250)`);
  if (ca !== undefined) {
    if (!existsSync(ca)) throw new UnibusError("invalid", `--ca ${ca} does not exist (name a PEM file)`);
    // TLS before any plaintext, so that a man in the middle cannot downgrade the connection.
    return { address, tls: { caFile: ca, handshakeFirst: true } };
  }
  if (isLoopback(address.hostname))
    return { address, tls: scheme === "tls" ? ({ rejectUnauthorized: false } as TlsOptions) : null };
  const hint = "name its certificate authority with --ca";
  throw new UnibusError("invalid", `${url} is on another machine, so TLS is required (${hint})`);
}

async function dial({ address, tls }: Target, internal: Internal, account: InternalAccount): Promise<NatsConnection> {
  const where = `${urlHost(address.hostname)}:${address.port}`;
  const connection = await connect({
    servers: where,
    user: internalUser(account),
    pass: internal.passwords[account],
    maxReconnectAttempts: reconnectsMax,
    timeout: connectTimeoutMs,
    ignoreClusterUpdates: true,
    ...(tls === null ? {} : { tls }),
  }).catch((cause: unknown) => {
    const isRefused = (cause as { code?: string }).code === "AUTHORIZATION_VIOLATION";
    const hint = isRefused
      ? "use the data directory of one of its nodes, with --data"
      : "check that the bus is running and that the URL is its NATS address";
    const what = isRefused ? "refused this data directory's credentials" : "does not answer";
    throw new UnibusError("unavailable", `the nats-server at ${where} ${what} (${hint})`, { cause });
  });
  await checkVersion(connection);
  return connection;
}

/** Provides the data plane with the nats-server at an address. */
export default definePlugin({
  name: "nats-embedded",
  api: 1,
  config: DialConfig,
  provides: { nats: Nats },
  async setup({ config, site, log, onStop }) {
    const target = targetOf(config.dial, config.dial_ca);
    const file = join(site.dataDir, "internal.json");
    if (!existsSync(file)) {
      const hint = "use the data directory of a node of that bus, with --data";
      throw new UnibusError(
        "not_found",
        `${file}, which contains the credentials for that bus, does not exist (${hint})`,
      );
    }
    const internal = internalIdentity(file);
    const connections = new Connections((account) => dial(target, internal, account), log);
    onStop(() => connections.close());
    return { services: { nats: natsForCommands(connections, internal) } };
  },
});
