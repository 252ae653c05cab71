/** Holds JetStream API calls so that a test can run two requests in exactly the order that goes wrong. */
import { busCalls } from "./bus-calls.ts";

interface Hold {
  readonly subject: string;
  readonly met: PromiseWithResolvers<void>;
  readonly freed: PromiseWithResolvers<void>;
}

/** The JetStream API calls of room streams, each of which can be held. */
export class HeldCalls {
  readonly #holds: Hold[] = [];

  /** For `bootInProcess`. */
  readonly between = busCalls(async (subject, call) => {
    const index = this.#holds.findIndex((hold) => subject.startsWith(hold.subject));
    const [hold] = index === -1 ? [] : this.#holds.splice(index, 1);
    hold?.met.resolve();
    await hold?.freed.promise;
    return call();
  });

  /**
   * Holds the next call whose subject begins with `$JS.API.` and `subject`. `met` resolves when the call is made;
   * `free` releases it.
   */
  next(subject: string): { readonly met: Promise<void>; free(): void } {
    const [met, freed] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    this.#holds.push({ subject: `$JS.API.${subject}`, met, freed });
    return { met: met.promise, free: freed.resolve };
  }
}
