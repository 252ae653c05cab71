/** After all work of this turn of the event loop. A browser has nothing like it, and batches less there. */
const afterTurn: (work: () => void) => void = globalThis.setImmediate ?? queueMicrotask;

/** Collects values, and hands them on together: at the end of the turn, or once there are `max`. */
export class TurnBatch<T> {
  #values: T[] = [];

  constructor(
    private readonly max: number,
    private readonly onBatch: (values: readonly T[]) => void,
  ) {}

  /** Adds a value. */
  add(value: T): void {
    this.#values.push(value);
    if (this.#values.length >= this.max) this.flush();
    else if (this.#values.length === 1) afterTurn(() => this.flush());
  }

  /** Hands on the collected values now. */
  flush(): void {
    const values = this.#values;
    this.#values = [];
    if (values.length > 0) this.onBatch(values);
  }
}
