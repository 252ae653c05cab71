/** Tracks background work that no caller waits for, so that shutdown can wait a moment for what is still running. */
export class Background {
  readonly #running = new Set<Promise<void>>();

  /** Tracks some work. Its errors are ignored here: the caller that started it handles them. */
  add(work: Promise<unknown>): void {
    const settled: Promise<void> = work.then(
      () => void this.#running.delete(settled),
      () => void this.#running.delete(settled),
    );
    this.#running.add(settled);
  }

  /** Resolves when all work added so far has settled, or after `withinMs` milliseconds. */
  async settled(withinMs = 1_000): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, withinMs);
    });
    await Promise.race([Promise.all(this.#running), late]);
    clearTimeout(timer);
  }
}
