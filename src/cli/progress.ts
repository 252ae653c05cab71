/** Minimum interval between redraws, in milliseconds. */
const drawEveryMs = 100;
const barWidth = 30;

/** A progress line on stderr. It prints nothing if stderr is not a terminal. */
export class Progress implements Disposable {
  readonly #what: string;
  readonly #total: number;
  #drawnAt = Number.NEGATIVE_INFINITY;
  #isDrawn = false;

  /** `total` is 0 if it is not known. `shown` formats the numbers. */
  constructor(
    what: string,
    total = 0,
    private readonly shown: (count: number) => string = String,
  ) {
    this.#what = what;
    this.#total = total;
  }

  /** Redraws the line with the number done. */
  readonly report = (done: number): void => {
    if (process.stderr.isTTY !== true || performance.now() - this.#drawnAt < drawEveryMs) return;
    this.#drawnAt = performance.now();
    this.#isDrawn = true;
    const share = this.#total === 0 ? 0 : Math.min(1, done / this.#total);
    const bar = "#".repeat(Math.floor(share * barWidth)).padEnd(barWidth, ".");
    const known = this.#total === 0 ? "" : ` of ${this.shown(this.#total)}  [${bar}] ${Math.floor(share * 100)} %`;
    process.stderr.write(`\r\x1b[K${this.#what} ${this.shown(done)}${known}`);
  };

  /** Clears the line. */
  [Symbol.dispose](): void {
    if (this.#isDrawn) process.stderr.write("\r\x1b[K");
  }
}
