import { token } from "./plugin.ts";

/** A live connection of a peer to the data plane. */
export interface PeerConnection {
  /** Increases with each login, so that a list can be continued after a connection, even one that has ended. */
  readonly number: number;
  readonly endpoint: string;
  /** The client's address; null if this node did not decide the login. */
  readonly address: string | null;
  /** When the login was decided or first seen here, in milliseconds since the epoch. */
  readonly since: number;
}

/** The live connections to this node's servers: its own server, or all of them if the servers are external. */
export interface Connections {
  /** At most `limit` connections whose number is above `after`, the oldest first. Errors: unavailable. */
  list(after: number, limit: number): Promise<PeerConnection[]>;
  /** The number of connections of a peer, as its limit counts them. */
  countOf(endpoint: string): number;
}

/** The token of the connections. */
export const Connections = token<Connections>("connections");
