/** Outcomes of a suite that runs elsewhere, awaited by name. */
import type { Outcome } from "../sdk/report.ts";

/** The outcomes so far, and the tests that wait for others. */
export class Outcomes {
  readonly #come = new Map<string, Outcome>();
  readonly #waiting = new Map<string, (outcome: Outcome) => void>();
  #end: Error | null = null;

  /** Records an outcome. */
  take(outcome: Outcome): void {
    this.#come.set(outcome.name, outcome);
    this.#waiting.get(outcome.name)?.(outcome);
  }

  /** Ends the suite: every test that still waits fails with this reason. */
  end(why: Error): void {
    this.#end ??= why;
    for (const [name, settle] of this.#waiting) settle({ name, fault: this.#end.message, ms: 0 });
  }

  /** Waits until a case is over. Errors: the failure of the case. */
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
