/** How often a line is drawn anew at most, in milliseconds. */
const drawEveryMs = 100;
const barWidth = 30;

/** How far something is, as one line on stderr; nothing where stderr is no terminal. */
export class Progress implements Disposable {
  readonly #what: string;
  readonly #total: number;
  #drawnAt = Number.NEGATIVE_INFINITY;
  #isDrawn = false;

  /** `total` 0 where it is not known. */
  constructor(what: string, total = 0) {
    this.#what = what;
    this.#total = total;
  }

  /** Draws that so many are done. */
  readonly tell = (done: number): void => {
    if (process.stderr.isTTY !== true || performance.now() - this.#drawnAt < drawEveryMs) return;
    this.#drawnAt = performance.now();
    this.#isDrawn = true;
    const share = this.#total === 0 ? 0 : Math.min(1, done / this.#total);
    const bar = "#".repeat(Math.floor(share * barWidth)).padEnd(barWidth, ".");
    const known = this.#total === 0 ? "" : ` of ${this.#total}  [${bar}] ${Math.floor(share * 100)} %`;
    process.stderr.write(`\r\x1b[K${this.#what} ${done}${known}`);
  };

  /** Takes the line away. */
  [Symbol.dispose](): void {
    if (this.#isDrawn) process.stderr.write("\r\x1b[K");
  }
}
