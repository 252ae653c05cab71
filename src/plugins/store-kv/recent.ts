interface Held<V> {
  readonly value: V;
  readonly size: number;
}

/** What was used last, by name, within a number of bytes. */
export class Recent<V> {
  readonly #held = new Map<string, Held<V>>();
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  has(name: string): boolean {
    return this.#held.has(name);
  }

  /** What is held, which by that counts as used. */
  get(name: string): V | undefined {
    const held = this.#held.get(name);
    if (held === undefined) return undefined;
    this.#held.delete(name);
    this.#held.set(name, held);
    return held.value;
  }

  /** Holds something of a size in bytes, and lets go what was not used for the longest time. */
  set(name: string, value: V, size: number): void {
    this.delete(name);
    this.#held.set(name, { value, size });
    this.#bytes += size;
    for (const oldest of this.#held.keys()) {
      if (this.#bytes <= this.#bytesMax) return;
      this.delete(oldest);
    }
  }

  delete(name: string): void {
    this.#bytes -= this.#held.get(name)?.size ?? 0;
    this.#held.delete(name);
  }

  clear(): void {
    this.#held.clear();
    this.#bytes = 0;
  }
}
