/** Runs the suite where there is no test runner, and tells how each case went. */
import type { Stage } from "./stage.ts";
import { cases } from "./suite.ts";

/** How a case went. */
export interface Outcome {
  readonly name: string;
  /** What it failed with, or null. */
  readonly fault: string | null;
  readonly ms: number;
}

const textOf = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error));

/** Runs every case, one after another. */
export async function runAll(stage: Stage, tell: (outcome: Outcome) => unknown): Promise<void> {
  for (const { name, run } of cases) {
    const began = Date.now();
    const fault = await run(stage).then(
      () => null,
      (error: unknown) => textOf(error),
    );
    await tell({ name, fault, ms: Date.now() - began });
  }
}
