interface Held<V> {
  readonly value: V;
  readonly size: number;
}

/** An LRU cache by name, limited by the total size of its values in bytes. */
export class LruCache<V> {
  readonly #held = new Map<string, Held<V>>();
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  has(name: string): boolean {
    return this.#held.has(name);
  }

  /** Returns a cached value and marks it as recently used. */
  get(name: string): V | undefined {
    const held = this.#held.get(name);
    if (held === undefined) return undefined;
    this.#held.delete(name);
    this.#held.set(name, held);
    return held.value;
  }

  /** Caches a value of a size in bytes, and evicts the least recently used ones. */
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
