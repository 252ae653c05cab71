/** Runs the suite without a test runner, and reports the outcome of each case. */
import type { Stage } from "./stage.ts";
import { cases } from "./suite.ts";

/** Outcome of a case. */
export interface Outcome {
  readonly name: string;
  /** The failure, or null. */
  readonly fault: string | null;
  readonly ms: number;
}

const textOf = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error));

/** Runs all cases, one after another. */
export async function runAll(stage: Stage, report: (outcome: Outcome) => unknown): Promise<void> {
  for (const { name, run } of cases) {
    const began = Date.now();
    const fault = await run(stage).then(
      () => null,
      (error: unknown) => textOf(error),
    );
    await report({ name, fault, ms: Date.now() - began });
  }
}
