import type { NatsConnection } from "nats";
import { type Address, isNatsUrl } from "../wire/address.ts";
import { UnibusError } from "../wire/errors.ts";
import type { Origin } from "./auth.ts";
import { token } from "./plugin.ts";

/**
 * The NATS accounts of the data plane that unibus itself uses. BUS holds the room streams; CTL the key-value buckets
 * and object stores; AUTH serves the auth callout; SYS monitors connections and disconnects them. Users are in a fifth
 * account, PEERS. Source: docs/concepts.md.
 */
export type InternalAccount = "BUS" | "CTL" | "AUTH" | "SYS";

/** The WebSocket proxy's view of its clients, by the client ids of the embedded server. */
export interface WebSocketClients {
  /** The network origin of a client; null for a client that did not connect through the proxy. */
  originOf(clientId: number): Origin | null;
  /** Records that a client's login was accepted. */
  admitted(clientId: number): void;
  /** The addresses at which the proxy listens. */
  listeners(): readonly Address[];
}

/** The NATS servers that carry the data plane. */
export interface Nats {
  /**
   * unibus's own connection in an account. It reconnects by itself. There is one per account, shared by all callers.
   */
  connection(account: InternalAccount): Promise<NatsConnection>;
  /** Signs the replies of the auth callout: takes a JWT's text, returns its Ed25519 signature. */
  readonly issuer: { readonly nkey: string; sign(text: string): Uint8Array };
  /**
   * The ids of the servers whose connections this unibus process monitors and disconnects: its own server, or every
   * server that answers if the servers are external. Errors: unavailable.
   */
  watched(): Promise<readonly string[]>;
  /**
   * Whether this node is the leader that creates shared resources for all nodes. Usually exactly one node is, but
   * briefly none or two may be. A standalone node always is. Errors: unavailable.
   */
  leads(): Promise<boolean>;
  /** The first tokens that a room's subject may have. */
  readonly namespaces: readonly string[];
  /**
   * The URLs that clients dial. `isAdvertised`: the operator configured them; otherwise they are the listen addresses.
   */
  urls(): { readonly nats: readonly string[]; readonly ws: readonly string[]; readonly isAdvertised: boolean };
  /** Whether unibus runs the server itself on this machine (embedded), rather than using external servers. */
  readonly isCarried: boolean;
  /** The proxy through which WebSocket clients reach the embedded server. Absent with external servers. */
  readonly proxy?: WebSocketClients;
  /** The process id of the embedded server, or null. */
  pid(): number | null;
  /** Calls `listener` with the new process id each time the embedded server is up again after it exited. */
  onRestart?(listener: (pid: number) => void): void;
}

/** Validates advertised URLs. Errors: invalid for a bad URL; the message names the plugin's setting. */
export function checkAdvertised(plugin: string, advertise: Readonly<Record<string, readonly string[]>> = {}): void {
  for (const [kind, urls] of Object.entries(advertise)) {
    const wrong = urls.find((url) => !isNatsUrl(url));
    if (wrong === undefined) continue;
    const hint = `write it as in ${kind === "ws" ? "wss://bus.example.org:8480" : "tls://bus.example.org:4250"}`;
    throw new UnibusError("invalid", `${plugin}.advertise.${kind}: ${JSON.stringify(wrong)} is not a URL (${hint})`);
  }
}

/** The token of the NATS service. */
export const Nats = token<Nats>("nats");
