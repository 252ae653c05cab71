/** One at a time for each key, in the order in which they came. */
export class KeyedLock {
  readonly #last = new Map<string, Promise<void>>();

  /** Runs `work` when all earlier work of the key has ended, however it ended. */
  async hold<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key) ?? Promise.resolve();
    const mine = before.then(work);
    const settled = mine.then(
      () => undefined,
      () => undefined,
    );
    this.#last.set(key, settled);
    try {
      return await mine;
    } finally {
      if (this.#last.get(key) === settled) this.#last.delete(key);
    }
  }
}
