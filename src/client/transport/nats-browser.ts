/** Connects a browser to the data plane, over WebSocket only. Imported as `#nats`. */
import type { Info } from "../../wire/api.ts";
import { dialSocket as dialNats, LoginRefused } from "./nats-socket.ts";

export { dialNats };

/** Whether the server refused the login (as opposed to being unreachable). */
export function isLoginRefusal(error: unknown): boolean {
  return error instanceof LoginRefused;
}

/** The addresses of the data plane, in the order of attempts. */
export function dataUrls({ ws }: Pick<Info, "nats" | "ws">): readonly string[] {
  return ws;
}
