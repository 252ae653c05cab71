/** Attaches a command on the same data directory to the nats-server of a running unibus. It starts none. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Nats } from "../../contracts/nats.ts";
import { definePlugin } from "../../contracts/plugin.ts";
import { UnibusError } from "../../wire/errors.ts";
import { embeddedConnections } from "./dial.ts";
import { natsForCommands } from "./for-commands.ts";
import { Config } from "./index.ts";
import { internalIdentity } from "./internal.ts";
import { portsFolder } from "./process.ts";

/** Finds the address of a data directory's nats-server. Errors: unavailable if none is running. */
function listening(folder: string): string {
  const pidFile = join(folder, "nats.pid");
  const pid = existsSync(pidFile) ? readFileSync(pidFile, "utf8") : "";
  const ports = portsFolder(folder);
  const file = (existsSync(ports) ? readdirSync(ports) : []).find((name) => name.endsWith(`_${pid}.ports`));
  const said = file === undefined ? {} : (JSON.parse(readFileSync(join(ports, file), "utf8")) as { nats?: string[] });
  const url = said.nats?.[0];
  if (url === undefined)
    throw new UnibusError("unavailable", "no server is running on this data directory (start it first)");
  return url;
}

/** Provides the data plane with the nats-server that is already running. */
export default definePlugin({
  name: "nats-embedded",
  api: 1,
  config: Config,
  provides: { nats: Nats },
  async setup({ site, log, onStop }) {
    const url = new URL(listening(join(site.dataDir, "nats")));
    const internal = internalIdentity(join(site.dataDir, "internal.json"));
    const connections = embeddedConnections(url.host, { internal, isTls: url.protocol === "tls:" }, log);
    onStop(() => connections.close());
    return { services: { nats: natsForCommands(connections, internal) } };
  },
});
