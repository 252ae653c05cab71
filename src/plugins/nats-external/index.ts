/** Connects to existing NATS servers, and refuses servers that cannot carry unibus. */
import { existsSync } from "node:fs";
import { Type } from "@sinclair/typebox";
import { RequestStrategy } from "nats";
import { checkAdvertised, type InternalAccount, Nats } from "../../contracts/nats.ts";
import { definePlugin, type Site } from "../../contracts/plugin.ts";
import { Connections } from "../../nats/connections.ts";
import { allNamespaces } from "../../nats/namespaces.ts";
import { isLoopback, parseAddress } from "../../wire/address.ts";
import { UnibusError } from "../../wire/errors.ts";
import { checkServers } from "./checks.ts";
import { readCredentials, readIssuer } from "./credentials.ts";
import { Dialler } from "./dial.ts";

const File = Type.String({ minLength: 1 });
const Config = Type.Object(
  {
    servers: Type.String({ minLength: 1, description: "nats:// or tls:// URLs, separated by commas" }),
    credentials: Type.Object(
      { BUS: File, CTL: File, AUTH: File, SYS: File },
      { additionalProperties: false, description: "the credentials file for each account" },
    ),
    issuer_seed_file: Type.String({ minLength: 1, description: "the file of the auth callout issuer's seed" }),
    ca: Type.Optional(
      Type.String({ minLength: 1, description: "the file of the authority of the servers' certificates, PEM" }),
    ),
    namespaces: Type.Optional(
      Type.Array(Type.String(), { maxItems: 64, description: "additional first tokens of room subjects" }),
    ),
    advertise: Type.Optional(
      Type.Object(
        { nats: Type.Array(Type.String(), { maxItems: 16 }), ws: Type.Array(Type.String(), { maxItems: 16 }) },
        { additionalProperties: false, description: "the URLs that peers dial, if they differ from servers" },
      ),
    ),
  },
  { additionalProperties: false },
);

/** How long servers may take to answer a ping, in milliseconds. */
const pingWaitMs = 500;
/** How long the list of servers is cached, in milliseconds. */
const serversAgeMsMax = 5_000;

function serverUrls(text: string, site: Site): string[] {
  const urls = text.split(",").map((url) => url.trim());
  for (const [index, url] of urls.entries()) {
    const [, scheme, rest = ""] = /^(nats|tls):\/\/([^/@]+)\/?$/.exec(url) ?? [];
    const address = parseAddress(rest);
    if (address === null) {
      // The URL itself is not quoted: it may contain a password.
      const hint = "for example tls://nats.example.org:4222, without a password";
      throw new UnibusError("invalid", `nats-external.servers: entry ${index + 1} is not a NATS URL (${hint})`);
    }
    if (scheme === "tls" || isLoopback(address.hostname) || site.listener.allowCleartext) continue;
    const hint = "use tls://, or set http.allow_cleartext";
    throw new UnibusError("invalid", `nats-external.servers: ${url} leaves this machine without TLS (${hint})`);
  }
  return urls.map((url) => url.replace(/\/$/, ""));
}

/** Returns a cached reader of the ids of all servers that answer a ping. */
function serverList(connections: Connections): () => Promise<readonly string[]> {
  let known: { readonly ids: Promise<readonly string[]>; readonly at: number } | null = null;
  const ask = async (): Promise<readonly string[]> => {
    const system = await connections.get("SYS");
    const options = { strategy: RequestStrategy.Timer, maxWait: pingWaitMs } as const;
    const ids = new Set<string>();
    for await (const reply of await system.requestMany("$SYS.REQ.SERVER.PING", "", options)) {
      const id = reply.json<{ server?: { id?: string } }>().server?.id;
      if (id !== undefined) ids.add(id);
    }
    return [...ids];
  };
  return () => {
    if (known === null || performance.now() - known.at > serversAgeMsMax) {
      known = { ids: ask(), at: performance.now() };
      known.ids.catch(() => {
        known = null;
      });
    }
    return known.ids;
  };
}

/** Provides the data plane on NATS servers that unibus does not run. */
export default definePlugin({
  name: "nats-external",
  api: 1,
  config: Config,
  provides: { nats: Nats },
  async setup({ config, site, log, onStop }) {
    checkAdvertised("nats-external", config.advertise);
    const servers = serverUrls(config.servers, site);
    const namespaces = allNamespaces("nats-external", config.namespaces);
    const ca = config.ca ?? null;
    if (ca !== null && !existsSync(ca)) {
      throw new UnibusError("invalid", `nats-external.ca: ${ca} does not exist (name a PEM file)`);
    }
    const issuer = readIssuer("nats-external.issuer_seed_file", config.issuer_seed_file);
    const read = (account: InternalAccount) =>
      readCredentials(`nats-external.credentials.${account}`, config.credentials[account]);
    const credentials = { BUS: read("BUS"), CTL: read("CTL"), AUTH: read("AUTH"), SYS: read("SYS") };
    const dialler = new Dialler({ servers, credentials, ca });
    const connections = new Connections((account) => dialler.connect(account), log);
    onStop(() => connections.close());
    await checkServers(connections, dialler, namespaces);
    const { advertise } = config;
    const urls = { nats: advertise?.nats ?? servers, ws: advertise?.ws ?? [], isAdvertised: advertise !== undefined };
    return {
      services: {
        nats: {
          ...{ issuer, namespaces, isCarried: false },
          connection: (account) => connections.get(account),
          watched: serverList(connections),
          leads: async () => true,
          urls: () => urls,
          pid: () => null,
        },
      },
      posture: { durability: "external", cluster: "external" },
      info: () => ({ nats: [...urls.nats], ws: [...urls.ws], namespaces: [...namespaces] }),
      async health() {
        if (!connections.isUp) return { ok: false, detail: "not connected to a nats-server" };
        await (await connections.get("SYS")).flush();
        return { ok: true };
      },
    };
  },
});
