/** Outcomes of a suite that runs elsewhere, awaited by name. */
import type { Outcome } from "../sdk/report.ts";

/** What came so far, and who waits for what has not. */
export class Outcomes {
  readonly #come = new Map<string, Outcome>();
  readonly #waiting = new Map<string, (outcome: Outcome) => void>();
  #end: Error | null = null;

  /** Takes an outcome. */
  take(outcome: Outcome): void {
    this.#come.set(outcome.name, outcome);
    this.#waiting.get(outcome.name)?.(outcome);
  }

  /** Nothing more will come: who waits is told why. */
  end(why: Error): void {
    this.#end ??= why;
    for (const [name, tell] of this.#waiting) tell({ name, fault: this.#end.message, ms: 0 });
  }

  /** Waits until a case is over. Errors: what it failed with. */
  async of(name: string): Promise<void> {
    const { fault } =
      this.#come.get(name) ??
      (await new Promise<Outcome>((resolve) => {
        this.#waiting.set(name, resolve);
        if (this.#end !== null) this.end(this.#end);
      }));
    if (fault !== null) throw new Error(fault);
  }
}
