import { SeenSet } from "../../lib/seen-set.ts";
import type { LiveMessage } from "./live-message.ts";

/** How many delivered messages are remembered, and how many are held, while there are several connections. */
const rememberedMax = 200_000;

/** What the merge needs to know about a connection. */
interface Source {
  carries(subject: string): boolean;
}

/**
 * Merges the messages of several connections into one stream. While two connections subscribe to a subject, it delivers
 * from the older one. Messages that only the newer one received are held until the older closes. So each message is
 * delivered once and in its sender's order, although during a swap either connection may lack messages of the other.
 */
export class Merge<L extends Source> {
  /** The connections, oldest first, each with its number in the order of all connections so far. */
  readonly #lines = new Map<L, number>();
  #count = 0;
  #delivered = new SeenSet(rememberedMax);
  readonly #held = new Map<string, { readonly place: number; readonly message: LiveMessage }>();

  /**
   * `keyOf` returns a key that is equal for two copies of a message. Null means that the message is delivered at once,
   * and twice if it arrives twice: an old connection no longer gets replies that a caller waits for, so they must not
   * be held.
   */
  constructor(
    private readonly keyOf: (message: LiveMessage) => string | null,
    private readonly deliver: (message: LiveMessage) => void,
  ) {}

  /** The connections in use, oldest first. */
  get lines(): readonly L[] {
    return [...this.#lines.keys()];
  }

  /** Adds a connection, before it subscribes to anything. */
  add(line: L): void {
    this.#lines.set(line, this.#count++);
  }

  /** Handles a message from a connection. */
  take(line: L, message: LiveMessage): void {
    const place = this.#lines.get(line) ?? -1;
    const key = this.#lines.size === 1 && place !== -1 ? null : this.keyOf(message);
    if (key === null) {
      this.deliver(message);
      return;
    }
    const name = `${message.subject} ${key}`;
    if (this.#delivered.has(name)) return;
    const waits = this.#held.size < rememberedMax && this.#isCarriedBefore(place, message.subject);
    if (waits) this.#hold(name, place, message);
    else this.#pass(name, message);
  }

  /** Removes a connection and delivers the messages that were held for it. */
  remove(line: L): void {
    if (!this.#lines.delete(line)) return;
    for (const [name, { place, message }] of this.#held) {
      if (!this.#isCarriedBefore(place, message.subject)) this.#pass(name, message);
    }
    if (this.#lines.size <= 1) this.#delivered = new SeenSet(rememberedMax);
  }

  /** Holds a message that an older connection should also deliver. Of two copies, the older connection's is kept. */
  #hold(name: string, place: number, message: LiveMessage): void {
    if ((this.#held.get(name)?.place ?? place + 1) <= place) return;
    this.#held.delete(name);
    this.#held.set(name, { place, message });
  }

  #pass(name: string, message: LiveMessage): void {
    this.#held.delete(name);
    this.#delivered.add(name);
    this.deliver(message);
  }

  #isCarriedBefore(place: number, subject: string): boolean {
    for (const [line, before] of this.#lines) if (before < place && line.carries(subject)) return true;
    return false;
  }
}
