/** Resolves at the end of the current turn of the event loop. */
const turnEnd = () => new Promise<void>((resolve) => setImmediate(resolve));

/**
 * Batches concurrent queries into one. An answer only serves callers that arrived before the query was sent, so it is
 * never stale for them. At most one query is in flight; callers that arrive during it share the next. Source: Raft's
 * ReadIndex.
 */
export class ReadIndex<R> {
  readonly #ask: () => Promise<R>;
  #underWay: Promise<unknown> = Promise.resolve();
  #coming: Promise<R> | null = null;

  constructor(ask: () => Promise<R>) {
    this.#ask = ask;
  }

  /** Returns an answer to a query sent after this call. Errors: those of the query. */
  next(): Promise<R> {
    this.#coming ??= this.#begin();
    return this.#coming;
  }

  async #begin(): Promise<R> {
    await this.#underWay;
    // Callers released by the previous answer often have a follow-up query at once: let it join this batch.
    await turnEnd();
    this.#coming = null;
    const answer = this.#ask();
    this.#underWay = answer.catch(() => undefined);
    return answer;
  }
}
