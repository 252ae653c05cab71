/** The NATS client in a browser, over WebSocket. Chosen by `#nats`. */
import type { Info } from "../wire/api.ts";

export type {
  Authenticator,
  NatsConnection,
  NatsError,
  PublishOptions,
  Subscription,
  SubscriptionOptions,
} from "nats.ws";
export { connect, headers } from "nats.ws";

/** The addresses at which this platform reaches the data plane. */
export function dataUrls(info: Pick<Info, "nats" | "ws">): readonly string[] {
  return info.ws;
}
