/**
 * Ports for proxies in front of a server. A signature names the host:port that was dialled, so a server must know the
 * addresses of its proxies before it starts: as with a published container port, `http.hosts` lists them.
 */
import type { AddressInfo, Server } from "node:net";

/** Ports below the ephemeral range, from which systems choose ports for outgoing connections and for port 0. */
export const reservable = { first: 15_000, count: 15_000 } as const;
/** How many proxies a server may have over its life: no port is used twice. */
const poolSize = 60;

const pools = new Map<string, number[]>();

/** Proxy ports that a server accepts since its start. */
export class ProxyPorts {
  readonly #ports = Array.from(
    { length: poolSize },
    () => reservable.first + Math.floor(Math.random() * reservable.count),
  );

  /** The arguments that make a server accept these ports. */
  get args(): string[] {
    const hosts = [...new Set(this.#ports)].map((port) => `127.0.0.1:${port}`);
    return ["--set", `http.hosts=${JSON.stringify(hosts)}`];
  }

  /** Makes proxies in front of these URLs take their ports from this pool from now on. */
  serve(...urls: readonly string[]): void {
    for (const url of urls) pools.set(url, this.#ports);
  }
}

/** Listens on loopback: on a port from the pool of the server behind `url`, or on any port if it has no pool. */
export async function listenBefore(url: string, server: Server): Promise<number> {
  const pool = pools.get(url) ?? [0];
  for (let port = pool.pop(); port !== undefined; port = pool.pop()) {
    const isListening = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => resolve(true));
    });
    server.removeAllListeners("error");
    if (isListening) return (server.address() as AddressInfo).port;
  }
  throw new Error(`no port is left for a proxy before ${url}`);
}
