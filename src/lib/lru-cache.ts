interface Held<V> {
  readonly value: V;
  readonly size: number;
}

/** An LRU cache by key, limited by the total size of its values: in bytes, or in entries if each has the size 1. */
export class LruCache<V, K = string> {
  readonly #held = new Map<K, Held<V>>();
  readonly #sizeMax: number;
  #size = 0;

  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax;
  }

  has(key: K): boolean {
    return this.#held.has(key);
  }

  /** Returns a cached value and marks it as recently used. */
  get(key: K): V | undefined {
    const held = this.#held.get(key);
    if (held === undefined) return undefined;
    this.#held.delete(key);
    this.#held.set(key, held);
    return held.value;
  }

  /** Caches a value of a size, and evicts the least recently used ones. */
  set(key: K, value: V, size = 1): void {
    this.delete(key);
    this.#held.set(key, { value, size });
    this.#size += size;
    for (const oldest of this.#held.keys()) {
      if (this.#size <= this.#sizeMax) return;
      this.delete(oldest);
    }
  }

  delete(key: K): void {
    this.#size -= this.#held.get(key)?.size ?? 0;
    this.#held.delete(key);
  }

  clear(): void {
    this.#held.clear();
    this.#size = 0;
  }
}
