import { type Bus, isUnibusError } from "../client/index.ts";
import { printNote } from "./print.ts";

/** Error codes that an outage causes. */
const ofOutages: readonly string[] = ["unavailable", "timeout", "rate_limited"];
/** A request may fail before the connection is known to be down. Within this time it is the same outage, in ms. */
const sameOutageMs = 10_000;

/**
 * Prints notes about outages for a long-running command: one when the connection breaks, with the reason, and one when
 * it is back.
 */
export class OutageNotes {
  #since: Date | null = null;
  #printedMs = Number.NEGATIVE_INFINITY;
  #isPrinted = false;

  constructor(bus: Bus) {
    bus.on("status", (status) => {
      if (status.state === "reconnecting") this.#began(status.since);
      else if (status.state === "connected" && this.#since !== null) this.#ended(this.#since);
    });
  }

  /**
   * Whether an outage explains an error, which is then printed here. The bus reports one such error for each outage.
   */
  explains(error: unknown): boolean {
    const isOfOutage = isUnibusError(error) ? ofOutages.includes(error.code) : (error as Error)?.name === "NatsError";
    if (!isOfOutage) return false;
    const what = this.#since === null ? "warning" : "connection lost; reconnecting";
    if (!this.#isPrinted) printNote(`${what}: ${(error as Error).message}`);
    this.#isPrinted = this.#since !== null;
    this.#printedMs = performance.now();
    return true;
  }

  #began(since: Date): void {
    this.#since = since;
    this.#isPrinted = performance.now() - this.#printedMs < sameOutageMs;
  }

  #ended(since: Date): void {
    const seconds = Math.max(1, Math.round((Date.now() - since.getTime()) / 1_000));
    printNote(this.#isPrinted ? `reconnected after ${seconds} s` : "the connection was lost and is back");
    this.#since = null;
    this.#isPrinted = false;
    this.#printedMs = Number.NEGATIVE_INFINITY;
  }
}
