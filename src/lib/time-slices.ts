/** Splits long synchronous work into time slices, so that the event loop can run other work in between. */
export class TimeSlices {
  #begunMs = performance.now();

  /** `lengthMs`: the length of a slice, in milliseconds. */
  constructor(private readonly lengthMs: number) {}

  /** Reports whether the slice is used up: the work should call `rest` at the next possible place. */
  get isOver(): boolean {
    return performance.now() - this.#begunMs >= this.lengthMs;
  }

  /** Yields to the event loop, then starts a new slice. */
  async rest(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve));
    this.#begunMs = performance.now();
  }
}
