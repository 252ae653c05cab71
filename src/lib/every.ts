/** How work is repeated. */
export interface EveryOptions {
  /** The pause between the end of one run and the start of the next, in milliseconds. */
  readonly pauseMs: number;
  /** Stops the repetition. A run that is under way is not interrupted. */
  readonly signal: AbortSignal;
  /** Called with the error of a failed run; the next run comes all the same. Not called after the signal. */
  readonly onError: (error: unknown) => void;
}

/** Runs work now, and again and again with a pause in between, until the signal aborts. Runs never overlap. */
export function every(work: () => Promise<void>, { pauseMs, signal, onError }: EveryOptions): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
  const run = async (): Promise<void> => {
    try {
      await work();
    } catch (error) {
      if (!signal.aborted) onError(error);
    }
    if (!signal.aborted) timer = setTimeout(run, pauseMs);
  };
  if (!signal.aborted) void run();
}
