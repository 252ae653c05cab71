/**
 * How a bus's connection to the data plane is: `connecting` -> `connected` <-> `reconnecting`, and `closed` from each
 * of them, for good. A bus holds the state; its event `status` reports each change of it: one when an outage begins,
 * one when it ends.
 */

/** How a bus is connected. `connecting`: not yet; with the option `lazy` also while nothing has needed a connection. */
export type BusStatus =
  | { readonly state: "connecting" | "connected" }
  | Reconnecting
  | {
      readonly state: "closed";
      /** Why it is closed. */
      readonly cause: unknown;
    };

/** An outage. */
export interface Reconnecting {
  readonly state: "reconnecting";
  /** When the connection broke, by this computer's clock. */
  readonly since: Date;
  /** How many attempts to get another one have failed since. */
  readonly attempt: number;
  /** The addresses that were tried since, each once, in their order. */
  readonly tried: readonly string[];
  /** Why the last attempt failed, or null before the first one has. */
  readonly cause: unknown;
}

/** A failed attempt to reconnect: at which addresses, and why. */
export interface FailedAttempt {
  readonly urls: readonly string[];
  readonly error: unknown;
}

/** Holds the status of one bus, and reports each change of its state. */
export class StatusHolder {
  #status: BusStatus = { state: "connecting" };

  /** `onChange` is called after the state has become another one; failed attempts within an outage do not call it. */
  constructor(private readonly onChange: (status: BusStatus) => void) {}

  get status(): BusStatus {
    return this.#status;
  }

  /** The connection is there, for the first time or again. */
  connected(): void {
    this.#become({ state: "connected" });
  }

  /** It broke, and another one is tried for. */
  broke(): void {
    this.#become({ state: "reconnecting", since: new Date(), attempt: 0, tried: [], cause: null });
  }

  /** An attempt to get another one failed. */
  failed({ urls, error }: FailedAttempt): void {
    if (this.#status.state !== "reconnecting") return;
    const { attempt, tried } = this.#status;
    const all = [...new Set([...tried, ...urls])];
    this.#status = { ...this.#status, attempt: attempt + 1, tried: all, cause: error };
  }

  /** It was closed for good. */
  closed(cause: unknown): void {
    this.#become({ state: "closed", cause });
  }

  #become(status: BusStatus): void {
    if (this.#status.state === status.state || this.#status.state === "closed") return;
    this.#status = status;
    this.onChange(status);
  }
}
