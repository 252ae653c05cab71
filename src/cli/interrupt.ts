/** The signals by which a person or a supervisor asks a command to stop, with what a shell adds to 128 for each. */
const signals = { SIGINT: 2, SIGTERM: 15 } as const;

/** The end of a command that was asked to stop before it was done. */
export class Interrupted extends Error {
  /** As shells count: 130 for Ctrl-C. */
  readonly exitCode: number;

  constructor(signal: keyof typeof signals) {
    super(`stopped by ${signal}`);
    this.exitCode = 128 + signals[signal];
  }
}

/** Aborted with an `Interrupted` by the first signal that asks to stop; a second one ends the process at once. */
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
