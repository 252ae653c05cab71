/**
 * The state of a bus's connection to the data plane: `connecting` -> `connected` <-> `reconnecting`, and from any of
 * them to `closed`, which is final. The bus holds the status; its event `status` reports each change of state, so an
 * outage causes one event at its start and one at its end.
 */

/** How a bus is connected. `connecting`: not yet; with the option `lazy` also while no connection was needed. */
export type BusStatus =
  | { readonly state: "connecting" | "connected" }
  | Reconnecting
  | {
      readonly state: "closed";
      /** Why it was closed. */
      readonly cause: unknown;
    };

/** An outage. */
export interface Reconnecting {
  readonly state: "reconnecting";
  /** When the connection broke, by this computer's clock. */
  readonly since: Date;
  /** How many attempts to reconnect have failed since. */
  readonly attempt: number;
  /** The addresses tried since, each once, in order. */
  readonly tried: readonly string[];
  /** Why the last attempt failed; null before the first failure. */
  readonly cause: unknown;
}

/** A failed attempt to reconnect, with the addresses and the reason. */
export interface FailedAttempt {
  readonly urls: readonly string[];
  readonly error: unknown;
}

/** Holds the status of one bus, and reports each change of state. */
export class StatusHolder {
  #status: BusStatus = { state: "connecting" };

  /** `onChange` is called after a change of state. Failed attempts during an outage do not call it. */
  constructor(private readonly onChange: (status: BusStatus) => void) {}

  get status(): BusStatus {
    return this.#status;
  }

  /** The connection was made or restored. */
  connected(): void {
    this.#become({ state: "connected" });
  }

  /** The connection broke, and the client tries to reconnect. */
  broke(): void {
    this.#become({ state: "reconnecting", since: new Date(), attempt: 0, tried: [], cause: null });
  }

  /** An attempt to reconnect failed. */
  failed({ urls, error }: FailedAttempt): void {
    if (this.#status.state !== "reconnecting") return;
    const { attempt, tried } = this.#status;
    const all = [...new Set([...tried, ...urls])];
    this.#status = { ...this.#status, attempt: attempt + 1, tried: all, cause: error };
  }

  /** The bus was closed for good. */
  closed(cause: unknown): void {
    this.#become({ state: "closed", cause });
  }

  #become(status: BusStatus): void {
    if (this.#status.state === status.state || this.#status.state === "closed") return;
    this.#status = status;
    this.onChange(status);
  }
}
