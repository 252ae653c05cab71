import type { Identity } from "./crypto/identity.ts";
import type { OwnClock } from "./transport/clock.ts";
import type { KeyLifetime } from "./trust/key-age.ts";
import type { ClientState } from "./trust/state.ts";

/** Default limits of messages that wait to be sent. */
export const sendLimitsDefault = { messagesMax: 10_000, bytesMax: 64 * 1_048_576 } as const;

/** The options of `Bus.connect`. */
export interface ConnectOptions {
  /** The address of the bus, or several addresses of one bus, the preferred one first. */
  readonly urls: readonly string[];
  readonly identity: Identity;
  /** Where versions, owners and handles are pinned, so that the server cannot roll them back. */
  readonly state: ClientState;
  /** Connects to the data plane on first use instead of at once. Default: false. */
  readonly lazy?: boolean;
  /** Where this client owns a room, it removes members who left and replaces old keys by itself. Default: true. */
  readonly settles?: boolean;
  /** When this client replaces the key of a room it owns. Default: after 30 days or 100,000 messages. */
  readonly keyLifetime?: Partial<KeyLifetime>;
  /**
   * Goes on with the chain of the last run in each room, so that a program which is started for each message does
   * not make as many chains. Two runs at once have one each. Not in a browser. Default: false.
   */
  readonly keepsChains?: boolean;
  /**
   * Endpoints whose rooms are accepted as soon as they add this peer, for example for a worker that joins every room it
   * is added to. A room is accepted only if that user has signed a change of it: the server could name anyone. Default:
   * none. Other rooms are accepted when the application uses them, or by `accept`.
   */
  readonly acceptFrom?: readonly string[];
  /**
   * Whether typing, presence and read marks are sent and received. `bus.signals.isOn` changes it later. Default: true.
   */
  readonly signals?: boolean;
  /** Whether `room.presence.read` lets others know. Default: in rooms of two only. */
  readonly readMarks?: boolean | undefined;
  /** Limits of messages that wait to be sent. Default: 10,000 messages and 64 MiB. */
  readonly sendLimits?: { readonly messagesMax: number; readonly bytesMax: number };
  /**
   * HOST:PORT to dial instead of the bus's one URL. Requests and logins are still signed for the URL. For programs on
   * the bus's own machine.
   */
  readonly dial?: string | undefined;
  /** TLS options beyond the system's trust store. */
  readonly tls?: { readonly ca?: string };
  /**
   * Follows the server's clock however far it differs from this computer's. By default it may be 24 h behind or 5 min
   * ahead. Never over http to another machine. Default: false.
   */
  readonly busClock?: boolean | undefined;
  /** This computer's clocks; tests replace them. */
  readonly ownClock?: OwnClock | undefined;
  readonly signal?: AbortSignal | undefined;
}
