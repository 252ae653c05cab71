import type { OwnClock } from "./clock.ts";
import type { Identity } from "./identity.ts";
import type { KeyLifetime } from "./key-age.ts";
import type { ClientState } from "./state.ts";

/** What may wait to be sent where nothing is said. */
export const sendLimitsDefault = { messagesMax: 10_000, bytesMax: 64 * 1_048_576 } as const;

/** What a bus is connected with. */
export interface ConnectOptions {
  /** The address of the bus, or several of one bus, the preferred first. */
  readonly urls: readonly string[];
  readonly identity: Identity;
  /** Where versions, owners and handles are remembered, so that the bus cannot go back. */
  readonly state: ClientState;
  /** Whether the data plane is connected to when it is first needed, and not at once. Default: false. */
  readonly lazy?: boolean;
  /** Whether this client, where it owns a room, signs out who left and replaces old keys by itself. Default: true. */
  readonly settles?: boolean;
  /** When this client, where it owns a room, replaces its key. Default: after 30 days or 100,000 messages. */
  readonly keyLifetime?: Partial<KeyLifetime>;
  /**
   * Endpoints whose rooms are accepted as soon as they add this peer, for a worker that follows whatever it is added
   * to. Default: none; a room is accepted when the application uses it, or by `accept`.
   */
  readonly acceptFrom?: readonly string[];
  /** What may wait to be sent. Default: 10,000 messages and 64 MiB. */
  readonly sendLimits?: { readonly messagesMax: number; readonly bytesMax: number };
  /**
   * HOST:PORT at which the bus is dialled instead of at its one URL, for which requests and logins are signed all the
   * same: for programs on its own machine.
   */
  readonly dial?: string | undefined;
  /** Options of TLS beyond the system's own trust. */
  readonly tls?: { readonly ca?: string };
  /**
   * Whether the bus's clock is followed however far it differs from this computer's. Without it the bus's may be 24 h
   * behind or 5 min ahead. Never over http to another machine. Default: false.
   */
  readonly busClock?: boolean | undefined;
  /** This computer's clocks, where a test replaces them. */
  readonly ownClock?: OwnClock | undefined;
  readonly signal?: AbortSignal | undefined;
}
