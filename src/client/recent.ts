/** Remembers the last so many keys. */
export class Recent {
  readonly #keys = new Set<string>();

  constructor(private readonly max: number) {}

  /** Whether a key is remembered. */
  has(key: string): boolean {
    return this.#keys.has(key);
  }

  /** Whether the key was new; it is remembered either way. */
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
