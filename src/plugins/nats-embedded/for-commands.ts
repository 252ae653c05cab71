import type { Nats } from "../../contracts/nats.ts";
import type { Connections } from "../../nats/connections.ts";
import { builtinNamespaces } from "../../wire/names.ts";
import { type Internal, issuerOf } from "./internal.ts";

/** The NATS service of a command that uses a running nats-server: it watches no server, and advertises none. */
export function natsForCommands(connections: Connections, internal: Internal): Nats {
  return {
    issuer: issuerOf(internal),
    namespaces: builtinNamespaces,
    connection: (account) => connections.get(account),
    watched: async () => [],
    leads: async () => true,
    urls: () => ({ nats: [], ws: [], isAdvertised: false }),
    isCarried: false,
    pid: () => null,
  };
}
