import type { NatsConnection } from "nats";
import { type Address, isNatsUrl } from "../wire/address.ts";
import { UnibusError } from "../wire/errors.ts";
import type { Origin } from "./auth.ts";
import { token } from "./plugin.ts";

/**
 * The accounts of the data plane. BUS holds the room streams, CTL the key-value and object stores; peers are in PEERS;
 * AUTH answers logins; SYS watches and cuts. Source: spec 9.
 */
export type InternalAccount = "BUS" | "CTL" | "AUTH" | "SYS";

/** What the WebSocket proxy knows of its clients, by the numbers that the carried server gave them. */
export interface WebSocketClients {
  /** Where a client comes from; null for one that did not come through the proxy. */
  originOf(clientId: number): Origin | null;
  /** Notes that a client's login was accepted. */
  admitted(clientId: number): void;
  /** The addresses at which the proxy is reached. */
  listeners(): readonly Address[];
}

/** The NATS that carries the data plane. */
export interface Nats {
  /** A live connection of unibus itself in an account; it comes back by itself. One for each account, shared. */
  connection(account: InternalAccount): Promise<NatsConnection>;
  /** Signs what the auth callout answers: a JWT's text in, its Ed25519 signature out. */
  readonly issuer: { readonly nkey: string; sign(text: string): Uint8Array };
  /**
   * The ids of the servers whose connections this unibus watches and cuts: its own, or, where somebody else runs them,
   * all that answer. Errors: unavailable.
   */
  watched(): Promise<readonly string[]>;
  /**
   * Whether this node is the one that makes what all nodes share, for the others to find: mostly one is, at times none
   * or two. A node alone always is. Errors: unavailable.
   */
  leads(): Promise<boolean>;
  /** First tokens of room subjects. */
  readonly namespaces: readonly string[];
  /** The URLs that peers dial. `isAdvertised`: the operator wrote them down, instead of where the servers listen. */
  urls(): { readonly nats: readonly string[]; readonly ws: readonly string[]; readonly isAdvertised: boolean };
  /** Whether the server is unibus's own, on this machine, and not one that somebody else runs. */
  readonly isCarried: boolean;
  /**
   * The proxy through which WebSocket clients reach the carried server; absent where somebody else runs the
   * servers.
   */
  readonly proxy?: WebSocketClients;
  /** The pid of the server that unibus carries, or null. */
  pid(): number | null;
  /** Calls `listener` each time the carried server listens again after it ended, with its new pid. */
  onRestart?(listener: (pid: number) => void): void;
}

/** Errors: invalid for an advertised URL that is not one, naming the plugin's setting. */
export function checkAdvertised(plugin: string, advertise: Readonly<Record<string, readonly string[]>> = {}): void {
  for (const [kind, urls] of Object.entries(advertise)) {
    const wrong = urls.find((url) => !isNatsUrl(url));
    if (wrong === undefined) continue;
    const hint = `as in ${kind === "ws" ? "wss://bus.example.org:8480" : "tls://bus.example.org:4250"}`;
    throw new UnibusError("invalid", `${plugin}.advertise.${kind}: ${JSON.stringify(wrong)} is not a URL (${hint})`);
  }
}

/** The data plane's server. */
export const Nats = token<Nats>("nats");
