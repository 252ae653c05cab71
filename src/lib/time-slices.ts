/** Cuts long work of the one thread into slices, so that other work gets its turn in between. */
export class TimeSlices {
  #begunMs = performance.now();

  /** `lengthMs`: how long a slice lasts, in milliseconds. */
  constructor(private readonly lengthMs: number) {}

  /** Whether the slice is used up: the work should `rest` at the next place where it can. */
  get isOver(): boolean {
    return performance.now() - this.#begunMs >= this.lengthMs;
  }

  /** Lets whatever waits run, and begins a new slice. */
  async rest(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve));
    this.#begunMs = performance.now();
  }
}
