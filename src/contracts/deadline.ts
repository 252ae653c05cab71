/** Awaits `work`, or rejects with the error of `late` after `ms` milliseconds. The work itself is not cancelled. */
export async function inTime<T>(work: Promise<T>, ms: number, late: () => Error): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), Math.max(0, ms));
  });
  try {
    return await Promise.race([work, expired]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * What `work` gives, or the error of `late` when `ms` pass in which it neither ends nor calls `renew`. The work itself
 * goes on.
 */
export async function inRenewedTime<T>(
  work: (renew: () => void) => Promise<T>,
  ms: number,
  late: () => Error,
): Promise<T> {
  const { promise: expired, reject } = Promise.withResolvers<never>();
  let end = performance.now() + ms;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const watch = (): void => {
    const left = end - performance.now();
    if (left <= 0) reject(late());
    else timer = setTimeout(watch, left);
  };
  const renew = (): void => {
    end = performance.now() + ms;
  };
  watch();
  try {
    return await Promise.race([work(renew), expired]);
  } finally {
    clearTimeout(timer);
  }
}
