/** How many messages may wait for the message that they are about: of one sender, and in all. */
const waitingMax = { ofSender: 4_096, inAll: 65_536 } as const;

/** The messages that are about a message which is not known yet, in a bounded number. */
export class Waiting<M extends { readonly from: string }> {
  readonly #bySender = new Map<string, Set<M>>();
  #size = 0;

  /** Adds a message. Returns the one that has to go for it, or null: the oldest of the sender with the most. */
  add(message: M): M | null {
    const own = this.#bySender.get(message.from) ?? new Set();
    if (own.size === 0) this.#bySender.set(message.from, own);
    own.add(message);
    this.#size += 1;
    if (own.size > waitingMax.ofSender) return this.#oldest(own);
    return this.#size > waitingMax.inAll ? this.#oldest(this.#largest(own)) : null;
  }

  /** Removes a message that does not wait any more. */
  delete(message: M): void {
    const own = this.#bySender.get(message.from);
    if (own?.delete(message) !== true) return;
    this.#size -= 1;
    if (own.size === 0) this.#bySender.delete(message.from);
  }

  #largest(own: Set<M>): Set<M> {
    let largest = own;
    for (const one of this.#bySender.values()) if (one.size > largest.size) largest = one;
    return largest;
  }

  #oldest(own: Set<M>): M | null {
    const [oldest = null] = own;
    if (oldest !== null) this.delete(oldest);
    return oldest;
  }
}
