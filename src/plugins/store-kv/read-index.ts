/** The end of this turn of the event loop. */
const turnEnd = () => new Promise<void>((resolve) => setImmediate(resolve));

/**
 * One question for all who ask at once. An answer serves those only who came before it was asked for: at most one is
 * under way, and whoever comes meanwhile shares the next. Source: Raft's ReadIndex.
 */
export class ReadIndex<R> {
  readonly #ask: () => Promise<R>;
  #underWay: Promise<unknown> = Promise.resolve();
  #coming: Promise<R> | null = null;

  constructor(ask: () => Promise<R>) {
    this.#ask = ask;
  }

  /** An answer that is asked for after this call. Errors: those of the question. */
  next(): Promise<R> {
    this.#coming ??= this.#begin();
    return this.#coming;
  }

  async #begin(): Promise<R> {
    await this.#underWay;
    // Whom the answer before let go on mostly have another question at once.
    await turnEnd();
    this.#coming = null;
    const answer = this.#ask();
    this.#underWay = answer.catch(() => undefined);
    return answer;
  }
}
