/** NATS over WebSocket, in Node and Bun. Browsers have `nats-socket.ts`. */
import { errors, wsconnect } from "@nats-io/nats-core";
import { type DataConnection, dataConnection, type Login, type NatsDial } from "./nats-connection.ts";

/** Whether the server refused the login (as opposed to being unreachable). */
export function isWebSocketLoginRefusal(error: unknown): boolean {
  return error instanceof errors.AuthorizationError;
}

/** Opens a WebSocket, and returns whether it is encrypted. */
export type OpenWebSocket = (url: string) => Promise<{ readonly socket: WebSocket; readonly encrypted: boolean }>;

const openHere: OpenWebSocket = async (url) => {
  return { socket: new WebSocket(url), encrypted: url.startsWith("wss:") };
};

/** The maximum size of a server's first message, in bytes. */
const infoBytesMax = 65_536;

/** The bytes that a server sends first: a line with its INFO. `onFault` is called with an error of the socket. */
function firstLine(socket: WebSocket, onFault: (error: Error) => void): Promise<Uint8Array<ArrayBuffer>> {
  socket.binaryType = "arraybuffer";
  let line = new Uint8Array();
  return new Promise((resolve) => {
    const take = ({ data }: MessageEvent<ArrayBuffer>): void => {
      line = new Uint8Array([...line, ...new Uint8Array(data)]);
      if (line.length > infoBytesMax) onFault(new Error("the server's first line is too long"));
      if (!line.includes(0x0a)) return;
      socket.removeEventListener("message", take);
      resolve(line);
    };
    socket.addEventListener("message", take);
    socket.addEventListener("error", (event) => {
      onFault(new Error((event as ErrorEvent).message || "the WebSocket failed"));
    });
  });
}

/** The nonce in a server's INFO; null if this is not an INFO, which the library reports. */
function nonceIn(line: Uint8Array): { readonly nonce: string | undefined } | null {
  const [, json = ""] = /^INFO\s+([^\r\n]+)/i.exec(new TextDecoder().decode(line)) ?? [];
  try {
    return { nonce: (JSON.parse(json) as { nonce?: string }).nonce };
  } catch {
    return null;
  }
}

/**
 * Opens a connection. `open` makes the WebSocket if the platform's own is not sufficient. The library waits for ever if
 * a WebSocket opens and closes before the server has sent anything, as behind a proxy whose server is down. Here that
 * fails the attempt, as does the timeout. The library cannot wait for a signature, so the login is signed before the
 * library sees the server's INFO.
 * Errors: the library's own; a plain Error if the WebSocket closed or the timeout expired.
 */
export async function dialWebSocket(dial: NatsDial, open: OpenWebSocket = openHere): Promise<DataConnection> {
  let fail: (error: Error) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  failed.catch(() => undefined);
  let made: WebSocket | null = null;
  let login: Login | null = null;
  const timer = setTimeout(() => fail(new Error("connection timed out")), dial.timeoutMs);
  /** Opens the WebSocket, and signs the login before the library sees what the server sent. */
  const prepared = async (url: string) => {
    const opened = await open(url);
    const { socket } = opened;
    made = socket;
    socket.addEventListener("close", ({ reason }) => fail(new Error(reason || "the WebSocket was closed")));
    const line = await Promise.race([firstLine(socket, fail), failed]);
    const info = nonceIn(line);
    if (info !== null) login = await dial.login(info.nonce);
    // The library sets `onmessage` when this function returns, before the next turn.
    setTimeout(() => socket.onmessage?.(new MessageEvent("message", { data: line.buffer })));
    return opened;
  };
  const connecting = wsconnect({
    servers: dial.url,
    authenticator: () => {
      if (login === null) throw new Error("the server sent no INFO");
      return login;
    },
    timeout: dial.timeoutMs,
    pingInterval: dial.pingEveryMs,
    reconnect: false,
    ignoreClusterUpdates: true,
    wsFactory: (url) =>
      prepared(url).catch((error: unknown) => {
        // The library would wait until the timeout.
        fail(error as Error);
        throw error;
      }),
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
