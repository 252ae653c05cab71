/** The NATS client where there are sockets. Chosen by `#nats`. */
import type { Info } from "../wire/api.ts";

export type {
  Authenticator,
  NatsConnection,
  NatsError,
  PublishOptions,
  Subscription,
  SubscriptionOptions,
} from "nats";
export { connect, headers } from "nats";

/** The addresses at which this platform reaches the data plane. */
export function dataUrls(info: Pick<Info, "nats" | "ws">): readonly string[] {
  return info.nats;
}
