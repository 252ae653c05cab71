/** How a piece of work is tried again. */
export interface RetryOptions {
  /** How long all tries may take, in milliseconds. No try begins after that. */
  readonly withinMs: number;
  /** The pause between two tries, in milliseconds. */
  readonly pauseMs: number;
  /** Whether a failure may pass by itself. Any other is thrown at once. */
  readonly isPassing: (error: unknown) => boolean;
}

/**
 * Does some work, and again as long as it fails in a way that may pass. `leftMs` is what a try may take.
 * Errors: that of the last try.
 */
export async function retry<T>(
  work: (leftMs: number) => Promise<T>,
  { withinMs, pauseMs, isPassing }: RetryOptions,
): Promise<T> {
  const end = performance.now() + withinMs;
  for (;;) {
    try {
      return await work(end - performance.now());
    } catch (error) {
      if (!isPassing(error) || performance.now() + pauseMs >= end) throw error;
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      // On a busy machine the pause may take longer.
      if (performance.now() >= end) throw error;
    }
  }
}
