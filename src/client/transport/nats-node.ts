/// <reference path="./ws.d.ts" />
/**
 * Connects Node and Bun to the data plane, over TCP or else WebSocket. Imported as `#nats`. A NATS library is loaded by
 * the first connection that needs it, so that a command that only reads over HTTP starts sooner.
 */
import type { Info } from "../../wire/api.ts";
import { UnibusError } from "../../wire/errors.ts";
import { type DataConnection, dataConnection, type Login, type NatsDial } from "./nats-connection.ts";

/** The addresses of the data plane, in the order of attempts. */
export function dataUrls({ nats, ws }: Pick<Info, "nats" | "ws">): readonly string[] {
  return [...nats, ...ws];
}

/** Whether the server refused the login (as opposed to being unreachable), as either library says it. */
export function isLoginRefusal(error: unknown): boolean {
  const { code, name } = (error ?? {}) as { readonly code?: unknown; readonly name?: unknown };
  return code === "AUTHORIZATION_VIOLATION" || name === "AuthorizationError";
}

/** Opens a connection. Errors: the library's own; invalid if this platform has no WebSocket. */
export async function dialNats(dial: NatsDial): Promise<DataConnection> {
  if (/^wss?:/.test(dial.url)) {
    const { dialWebSocket } = await import("./nats-websocket.ts");
    return dialWebSocket(dial, (url) => openWebSocket(url, dial.tls));
  }
  const { connect } = await import("nats");
  const connection = await connect({
    servers: dial.url.replace(/^nats:\/\//, ""),
    authenticator: (nonce) => loginNow(dial, nonce),
    timeout: dial.timeoutMs,
    pingInterval: dial.pingEveryMs,
    reconnect: false,
    ignoreClusterUpdates: true,
    ...(dial.url.startsWith("tls:") ? { tls: definedOf(dial.tls) } : {}),
  });
  return dataConnection(connection as Parameters<typeof dataConnection>[0], {
    errorIn(status) {
      const { type, data, permissionContext } = status as {
        type: string;
        data: unknown;
        permissionContext?: { operation: string; subject: string };
      };
      if (type !== "error") return null;
      return permissionContext === undefined ? { error: data } : { refusal: permissionContext };
    },
  });
}

/** Logs in without a promise: the library cannot wait. Errors: unavailable if the private keys are not in memory. */
function loginNow(dial: NatsDial, nonce: string | undefined): Login {
  const login = dial.login(nonce);
  if (!(login instanceof Promise)) return login;
  login.catch(() => undefined);
  const hint = "let the server offer a WebSocket address";
  throw new UnibusError("unavailable", `private keys outside this process cannot log in over TCP (${hint})`);
}

/** The options that are set: the NATS client treats an undefined option as a value. */
function definedOf(tls: NatsDial["tls"]): { ca?: string; servername?: string } {
  const { ca, servername } = tls ?? {};
  return { ...(ca === undefined ? {} : { ca }), ...(servername === undefined ? {} : { servername }) };
}

/** Opens a WebSocket: the platform's own, or that of the package `ws`, which Node 20 needs. */
async function openWebSocket(url: string, tls: NatsDial["tls"]): Promise<{ socket: WebSocket; encrypted: boolean }> {
  const encrypted = url.startsWith("wss:");
  const options = definedOf(tls);
  if (process.versions.bun !== undefined) {
    const init = encrypted && Object.keys(options).length > 0 ? { tls: options } : {};
    return { socket: new WebSocket(url, init as never), encrypted };
  }
  // Node's own WebSocket, since Node 22, accepts no TLS options.
  if (globalThis.WebSocket !== undefined && Object.keys(options).length === 0) {
    return { socket: new WebSocket(url), encrypted };
  }
  const module = await import("ws").catch((cause: unknown) => {
    throw new UnibusError("invalid", "this runtime has no WebSocket (install the package ws: npm install ws)", {
      cause,
    });
  });
  const socket = new module.WebSocket(url, { perMessageDeflate: false, ...options }) as unknown as WebSocket;
  return { socket, encrypted };
}
