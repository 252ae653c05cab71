/** The range of the pauses between attempts, in milliseconds. */
export interface Backoff {
  /** The limit of the first pause. It doubles with each attempt. */
  readonly first: number;
  /** The limit of any pause. */
  readonly most: number;
}

/** Enough doublings to reach any limit, and few enough to stay a number. */
const doublingsMax = 30;

/**
 * A random pause before the next attempt, in milliseconds: between 0 and a limit that doubles with each attempt, so
 * that clients that failed together do not try again together. `attempt`: how many have failed before, from 0.
 */
export function backoffMs(attempt: number, { first, most }: Backoff): number {
  return Math.random() * Math.min(most, first * 2 ** Math.min(attempt, doublingsMax));
}
