/** How a browser reaches the data plane: over WebSocket alone. Chosen by `#nats`. */
import type { Info } from "../wire/api.ts";
import { dialWebSocket as dialNats, isWebSocketLoginRefusal as isLoginRefusal } from "./nats-websocket.ts";

export { dialNats, isLoginRefusal };

/** The addresses of the data plane, in the order in which they are tried. */
export function dataUrls({ ws }: Pick<Info, "nats" | "ws">): readonly string[] {
  return ws;
}
