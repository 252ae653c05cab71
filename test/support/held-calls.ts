/**
 * Stands between unibus and its message store in a test: calls that a test holds wait until it lets them go, so that
 * two requests meet in the one order that goes wrong.
 */
import type { NatsConnection } from "nats";
import { Nats } from "../../src/contracts/nats.ts";
import type { Between } from "./in-process.ts";

interface Hold {
  readonly subject: string;
  readonly met: PromiseWithResolvers<void>;
  readonly freed: PromiseWithResolvers<void>;
}

/** Calls of the JetStream API of room streams, each of which can be held. */
export class HeldCalls {
  readonly #holds: Hold[] = [];

  /** For `bootInProcess`. */
  readonly between: Between = { [Nats.id]: (service) => this.#wrapped(service as Nats) };

  /**
   * Holds the next call whose subject begins with `$JS.API.` and `subject`. `met` resolves when it has come; `free`
   * lets it go on.
   */
  next(subject: string): { readonly met: Promise<void>; free(): void } {
    const [met, freed] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    this.#holds.push({ subject: `$JS.API.${subject}`, met, freed });
    return { met: met.promise, free: freed.resolve };
  }

  #wrapped(nats: Nats): Nats {
    let made: Promise<NatsConnection> | undefined;
    const wrap = async (): Promise<NatsConnection> => {
      const connection = await nats.connection("BUS");
      return new Proxy(connection, {
        get: (target, name) => {
          if (name === "request") return this.#request(target);
          const value = Reflect.get(target, name, target) as unknown;
          return typeof value === "function" ? value.bind(target) : value;
        },
      });
    };
    const connection: Nats["connection"] = (account) => {
      if (account !== "BUS") return nats.connection(account);
      made ??= wrap();
      return made;
    };
    return new Proxy(nats, { get: (target, name) => (name === "connection" ? connection : Reflect.get(target, name)) });
  }

  #request(connection: NatsConnection): NatsConnection["request"] {
    return async (subject, payload, options) => {
      const index = this.#holds.findIndex((hold) => subject.startsWith(hold.subject));
      const [hold] = index === -1 ? [] : this.#holds.splice(index, 1);
      hold?.met.resolve();
      await hold?.freed.promise;
      return connection.request(subject, payload, options);
    };
  }
}
