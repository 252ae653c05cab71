/**
 * Pauses inside a bus: while a race runs, a random share of the calls of a store or of JetStream waits for a moment
 * before or after the call. That widens the window between a command's reads and writes for other commands.
 */
import { InviteStore, RoomStore, UserStore } from "../../../src/contracts/store.ts";
import { busCalls } from "../bus-calls.ts";
import type { Between } from "../in-process.ts";

/** The share of calls that wait, and the longest wait, in milliseconds. */
const share = 0.25;
const pauseMsMax = 6;

/** The fact of a store that pauses make untrue. */
const separated: keyof InviteStore = "commitsTogether";

/** The pauses of one bus. */
export class Pauses {
  #races = 0;

  constructor(private readonly random: () => number) {}

  /** Runs a race with pauses. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#races += 1;
    try {
      return await work();
    } finally {
      this.#races -= 1;
    }
  }

  /** For `bootInProcess`. */
  get between(): Between {
    const store = (service: object): object => this.#paused(service);
    return {
      ...busCalls((_, call) => this.#around(call)),
      [RoomStore.id]: store,
      [UserStore.id]: store,
      [InviteStore.id]: store,
    };
  }

  async #around<T>(call: () => Promise<T>): Promise<T> {
    await this.#pause();
    const result = await call();
    await this.#pause();
    return result;
  }

  async #pause(): Promise<void> {
    if (this.#races === 0 || this.random() > share) return;
    await new Promise((resolve) => setTimeout(resolve, this.random() * pauseMsMax));
  }

  #paused(service: object): object {
    return new Proxy(service, {
      get: (target, name) => {
        // Calls made together no longer commit together once one of them pauses.
        if (name === separated) return false;
        const value = Reflect.get(target, name, target) as unknown;
        if (typeof value !== "function") return value;
        return (...args: unknown[]) => this.#around(() => value.apply(target, args) as Promise<unknown>);
      },
    });
  }
}
