import { KeyedMutex } from "./keyed-mutex.ts";

/** A mutex: runs one work at a time, first in, first out. */
export class Mutex {
  readonly #keyed = new KeyedMutex();

  /** Runs `work` when all earlier work has settled, whether it succeeded or failed. Errors: those of `work`. */
  hold<T>(work: () => Promise<T>): Promise<T> {
    return this.#keyed.hold("", work);
  }

  /** Resolves when all work so far has settled. */
  async settled(): Promise<void> {
    await this.hold(async () => undefined);
  }
}
