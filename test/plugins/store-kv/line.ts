/** What stands between a store and its server: it counts what is asked, and holds up or loses what is delivered. */
import type { Msg, NatsConnection, SubscriptionOptions } from "nats";

/** What becomes of a delivery: how late it comes, in milliseconds, or null where it is lost. */
export type Fate = () => number | null;

/** The line of one store. */
export class Line {
  /** How every delivery fares, from now on. */
  fate: Fate = () => 0;
  readonly #asked: string[] = [];
  #order: Promise<unknown> = Promise.resolve();

  /** How often something was asked whose subject contains a text. */
  count(text: string): number {
    return this.#asked.filter((subject) => subject.includes(text)).length;
  }

  /** The same connection, with its line. */
  wrap = (connection: NatsConnection): NatsConnection =>
    new Proxy(connection, {
      get: (target, name) => {
        const member: unknown = Reflect.get(target, name, target);
        if (typeof member !== "function") return member;
        if (name === "subscribe") {
          return (subject: string, options: SubscriptionOptions) =>
            target.subscribe(subject, { ...options, callback: this.#delivering(options) });
        }
        return (...values: unknown[]): unknown => {
          if (name === "request") this.#asked.push(String(values[0]));
          return Reflect.apply(member, target, values);
        };
      },
    });

  #delivering({ callback }: SubscriptionOptions): NonNullable<SubscriptionOptions["callback"]> {
    return (error, message: Msg) => {
      const ms = this.fate();
      if (ms === null) return;
      if (ms === 0) return void this.#order.then(() => callback?.(error, message));
      // What is late holds up what comes behind it.
      this.#order = this.#order.then(() => Bun.sleep(ms)).then(() => callback?.(error, message));
    };
  }
}
