/** Connects a browser to the data plane, over WebSocket only. Imported as `#nats`. */
import type { Info } from "../../wire/api.ts";
import { dialWebSocket as dialNats, isWebSocketLoginRefusal as isLoginRefusal } from "./nats-websocket.ts";

export { dialNats, isLoginRefusal };

/** The addresses of the data plane, in the order of attempts. */
export function dataUrls({ ws }: Pick<Info, "nats" | "ws">): readonly string[] {
  return ws;
}
