/**
 * Ports for proxies in front of a server. A signature names the host:port that was dialled, so a server has to know the
 * addresses of its proxies before it starts: as with a published container port, `http.hosts` names them.
 */
import type { AddressInfo, Server } from "node:net";

/** Below the range from which systems take ports for outgoing connections. */
const range = { first: 15_000, count: 15_000 } as const;
/** How many proxies a server may have over its life: none is used twice. */
const poolSize = 60;

const pools = new Map<string, number[]>();

/** Ports that a server is told of at its start. */
export class ProxyPorts {
  readonly #ports = Array.from({ length: poolSize }, () => range.first + Math.floor(Math.random() * range.count));

  /** The arguments by which a server accepts them. */
  get args(): string[] {
    const hosts = [...new Set(this.#ports)].map((port) => `127.0.0.1:${port}`);
    return ["--set", `http.hosts=${JSON.stringify(hosts)}`];
  }

  /** From now on proxies before these URLs take their ports from here. */
  serve(...urls: readonly string[]): void {
    for (const url of urls) pools.set(url, this.#ports);
  }
}

/** Listens on loopback: on a port that the server behind `url` knows, if it was started for proxies, else on any. */
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
