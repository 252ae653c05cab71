/** Work that goes on beside what a caller waits for. Whoever ends can wait a moment for what is still under way. */
export class Background {
  readonly #running = new Set<Promise<void>>();

  /** Takes up some work. Its failure is the affair of whoever began it. */
  add(work: Promise<unknown>): void {
    const settled: Promise<void> = work.then(
      () => void this.#running.delete(settled),
      () => void this.#running.delete(settled),
    );
    this.#running.add(settled);
  }

  /** Resolves when everything has ended that was taken up by now, or after some milliseconds. */
  async settled(withinMs = 1_000): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, withinMs);
    });
    await Promise.race([Promise.all(this.#running), late]);
    clearTimeout(timer);
  }
}
