import { type Bus, isUnibusError } from "../client/index.ts";
import { printNote } from "./print.ts";

/** Codes of errors that an outage brings. */
const ofOutages: readonly string[] = ["unavailable", "timeout", "rate_limited"];
/** A request may fail before the connection is known to be broken: within this time it is the same outage, in ms. */
const sameOutageMs = 10_000;

/**
 * What a command that goes on prints of outages: one line when the bus is away, with the reason, and one when the
 * connection is there again.
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

  /** Takes an error if it is one that outages bring. The bus reports one such error for each outage. */
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
