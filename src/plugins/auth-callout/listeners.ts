import type { NatsConnection } from "nats";
import type { LoginPlace } from "../../contracts/auth.ts";
import type { Nats } from "../../contracts/nats.ts";
import { LruCache } from "../../lib/lru-cache.ts";
import { serverReport } from "../../nats/server-report.ts";
import type { Address } from "../../wire/address.ts";

/** How long a nats-server may take to report its addresses, in milliseconds. */
const askTimeoutMs = 2_000;
/** How many servers are cached. A restarted server has a new id. */
const serversMax = 64;

/** The fields used from a server's VARZ report. */
interface Varz {
  readonly data?: {
    readonly host?: string;
    readonly port?: number;
    readonly websocket?: { readonly host?: string; readonly port?: number };
  };
}

/** Caches where the nats-servers listen. One node may answer logins of another node's server. */
export class Listeners {
  readonly #known = new LruCache<Promise<readonly Address[]>>(serversMax);

  constructor(
    private readonly system: NatsConnection,
    private readonly nats: Nats,
  ) {}

  /** The place where a login arrived. Errors: those of NATS, if the server does not report its addresses. */
  async placeOf(serverId: string): Promise<LoginPlace> {
    const isHere = this.nats.isCarried && !this.isOfAnotherNode(serverId);
    const proxied = isHere ? (this.nats.proxy?.listeners() ?? []) : [];
    const listeners = [...(await this.#listenersOf(serverId)), ...proxied];
    const { nats, ws, isAdvertised } = this.nats.urls();
    return { listeners, isHere, urls: [...nats, ...ws], isAdvertised };
  }

  /** Whether the server belongs to another node of the cluster. */
  isOfAnotherNode(serverId: string): boolean {
    return this.nats.isCarried && serverId !== this.system.info?.server_id;
  }

  #listenersOf(serverId: string): Promise<readonly Address[]> {
    const known = this.#known.get(serverId);
    if (known !== undefined) return known;
    const asked = this.#ask(serverId);
    this.#known.set(serverId, asked);
    asked.catch(() => this.#known.delete(serverId));
    return asked;
  }

  async #ask(serverId: string): Promise<readonly Address[]> {
    const { data } = await serverReport<Varz>(this.system, serverId, { what: "VARZ", timeoutMs: askTimeoutMs });
    return [data, data?.websocket].flatMap((at) =>
      at?.host !== undefined && at.port !== undefined ? [{ hostname: at.host, port: at.port }] : [],
    );
  }
}
