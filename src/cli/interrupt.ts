/** The signals that ask a command to stop, with the number that a shell adds to 128. */
const signals = { SIGINT: 2, SIGTERM: 15 } as const;

/** The error of a command that was asked to stop before it was done. */
export class Interrupted extends Error {
  /** The shell's exit code: 130 for Ctrl-C. */
  readonly exitCode: number;

  constructor(signal: keyof typeof signals) {
    super(`stopped by ${signal}`);
    this.exitCode = 128 + signals[signal];
  }
}

/** Returns a signal that is aborted with `Interrupted` by SIGINT or SIGTERM. A second one exits immediately. */
export function interruption(): AbortSignal {
  const asked = new AbortController();
  for (const signal of Object.keys(signals) as (keyof typeof signals)[]) {
    process.on(signal, () => {
      const reason = new Interrupted(signal);
      if (asked.signal.aborted) process.exit(reason.exitCode);
      asked.abort(reason);
    });
  }
  return asked.signal;
}
