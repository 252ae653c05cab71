/** What takes deliveries of durables, by the subject that they come to. */
import type { LiveMessage } from "./line.ts";

/** What takes the deliveries of one durable. */
export interface DeliveryTaker {
  readonly take: (message: LiveMessage) => void;
  /** Called with an acknowledgement that the server did not allow. */
  readonly refused: (ack: string) => void;
}

/** The durables of one bus that are open. */
export class Deliveries {
  readonly #takers = new Map<string, DeliveryTaker>();

  /** The subjects that deliveries come to. */
  get subjects(): string[] {
    return [...this.#takers.keys()];
  }

  /** Begins to hand over what comes to a subject, or, without a taker, ends it. */
  set(subject: string, taker: DeliveryTaker | null): void {
    if (taker === null) this.#takers.delete(subject);
    else this.#takers.set(subject, taker);
  }

  /** Hands over a delivery. */
  take(message: LiveMessage): void {
    this.#takers.get(message.subject)?.take(message);
  }

  /** Passes on that the server refused a publish, where it was an acknowledgement. */
  refused(subject: string): void {
    if (subject.startsWith("$JS.ACK.")) for (const taker of this.#takers.values()) taker.refused(subject);
  }
}
