/** Intercepts a store's connection to its server: counts requests, and delays or drops deliveries. */
import type { Msg, NatsConnection, SubscriptionOptions } from "nats";

/** Decides on a delivery: its delay in milliseconds, or null to drop it. */
export type Fate = () => number | null;

/** The interceptor for one store's connection. */
export class ConnectionInterceptor {
  /** Decides on every delivery from now on. */
  fate: Fate = () => 0;
  readonly #asked: string[] = [];
  #order: Promise<unknown> = Promise.resolve();

  /** Number of requests whose subject contains `text`. */
  count(text: string): number {
    return this.#asked.filter((subject) => subject.includes(text)).length;
  }

  /** Wraps a connection with this interceptor. */
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
      // Keep the order: a delayed delivery delays those behind it.
      this.#order = this.#order.then(() => Bun.sleep(ms)).then(() => callback?.(error, message));
    };
  }
}
