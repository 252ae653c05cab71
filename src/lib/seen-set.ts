/** A set of the most recently added keys, with a maximum size. */
export class SeenSet {
  readonly #keys = new Set<string>();

  constructor(private readonly max: number) {}

  /** Whether a key is in the set. */
  has(key: string): boolean {
    return this.#keys.has(key);
  }

  /** Adds a key. Returns whether it was new. */
  add(key: string): boolean {
    if (this.#keys.has(key)) return false;
    this.#keys.add(key);
    if (this.#keys.size > this.max) {
      const oldest = this.#keys.values().next().value;
      if (oldest !== undefined) this.#keys.delete(oldest);
    }
    return true;
  }
}
