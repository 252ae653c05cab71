/** Routes the deliveries of durables to their handlers, by subject. */
import type { LiveMessage } from "./live-message.ts";

/** Handles the deliveries of one durable. */
export interface DeliveryTaker {
  readonly take: (message: LiveMessage) => void;
  /** Called with an ack that the server did not permit. */
  readonly refused: (ack: string) => void;
}

/** The open durables of one bus. */
export class Deliveries {
  readonly #takers = new Map<string, DeliveryTaker>();

  /** The delivery subjects. */
  get subjects(): string[] {
    return [...this.#takers.keys()];
  }

  /** Sets the handler of a subject; null removes it. */
  set(subject: string, taker: DeliveryTaker | null): void {
    if (taker === null) this.#takers.delete(subject);
    else this.#takers.set(subject, taker);
  }

  /** Passes a delivery to its handler. */
  take(message: LiveMessage): void {
    this.#takers.get(message.subject)?.take(message);
  }

  /** Handles a refused publish: passes it on if it was an ack. */
  refused(subject: string): void {
    if (subject.startsWith("$JS.ACK.")) for (const taker of this.#takers.values()) taker.refused(subject);
  }
}
