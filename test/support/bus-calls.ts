/** Intercepts every JetStream API call between unibus and its message store in a test. */
import type { NatsConnection } from "nats";
import { Nats } from "../../src/contracts/nats.ts";
import type { Between } from "./in-process.ts";

/** For `bootInProcess`: `pass` gets the subject of each request of room streams, and the function that makes it. */
export function busCalls(pass: <T>(subject: string, call: () => Promise<T>) => Promise<T>): Between {
  const wrapped = (connection: NatsConnection): NatsConnection => {
    const request: NatsConnection["request"] = (subject, payload, options) =>
      pass(subject, () => connection.request(subject, payload, options));
    return new Proxy(connection, {
      get: (target, name) => {
        if (name === "request") return request;
        const value = Reflect.get(target, name, target) as unknown;
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  };
  return {
    [Nats.id]: (service) => {
      const nats = service as Nats;
      let made: Promise<NatsConnection> | undefined;
      const connection: Nats["connection"] = (account) => {
        if (account !== "BUS") return nats.connection(account);
        made ??= nats.connection(account).then(wrapped);
        return made;
      };
      const get = (target: Nats, name: string | symbol) =>
        name === "connection" ? connection : Reflect.get(target, name);
      return new Proxy(nats, { get });
    },
  };
}
