/** NATS over WebSocket, in browsers, Node and Bun. */
import { errors, wsconnect } from "@nats-io/nats-core";
import { type DataConnection, dataConnection, type NatsDial } from "./nats-connection.ts";

/** Whether the server refused the login (as opposed to being unreachable). */
export function isWebSocketLoginRefusal(error: unknown): boolean {
  return error instanceof errors.AuthorizationError;
}

/** Opens a WebSocket, and returns whether it is encrypted. */
export type OpenWebSocket = (url: string) => Promise<{ readonly socket: WebSocket; readonly encrypted: boolean }>;

const openHere: OpenWebSocket = async (url) => {
  return { socket: new WebSocket(url), encrypted: url.startsWith("wss:") };
};

/**
 * Opens a connection. `open` makes the WebSocket if the platform's own is not sufficient. The library waits for ever if
 * a WebSocket opens and closes before the server has sent anything, as behind a proxy whose server is down. Here that
 * fails the attempt, as does the timeout.
 * Errors: the library's own; a plain Error if the WebSocket closed or the timeout expired.
 */
export async function dialWebSocket(dial: NatsDial, open: OpenWebSocket = openHere): Promise<DataConnection> {
  let fail: (error: Error) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  failed.catch(() => undefined);
  let made: WebSocket | null = null;
  const timer = setTimeout(() => fail(new Error("connection timed out")), dial.timeoutMs);
  const connecting = wsconnect({
    servers: dial.url,
    authenticator: dial.authenticator,
    timeout: dial.timeoutMs,
    pingInterval: dial.pingEveryMs,
    reconnect: false,
    ignoreClusterUpdates: true,
    wsFactory: async (url) => {
      const opened = await open(url);
      made = opened.socket;
      made.addEventListener("close", ({ reason }) => fail(new Error(reason || "the WebSocket was closed")));
      return opened;
    },
  });
  // An abandoned attempt may still succeed. Close its connection.
  failed.catch(() => connecting.then((late) => late.close()).catch(() => undefined));
  const connection = await Promise.race([connecting, failed])
    .catch((error: unknown) => {
      made?.close();
      throw error;
    })
    .finally(() => clearTimeout(timer));
  return dataConnection(connection, {
    errorIn(status) {
      const { type, error } = status as { type: string; error?: unknown };
      if (type !== "error") return null;
      if (!(error instanceof errors.PermissionViolationError)) return { error };
      return { refusal: { operation: error.operation, subject: error.subject } };
    },
  });
}
