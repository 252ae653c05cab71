/** WebSocket clients for tests: a stock NATS client, and a raw TCP socket that speaks the minimum of the protocol. */
import { connect as openTcp, type Socket } from "node:net";
import { type NatsConnection, type nkeyAuthenticator, wsconnect } from "@nats-io/nats-core";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { rawSign } from "./peer.ts";

/** Connects a stock NATS client over WebSocket, which signs only the nonce. */
export function dialWebSocket(url: string, identity: Identity): Promise<NatsConnection> {
  const authenticator = (nonce?: string) => {
    const sig = Buffer.from(rawSign(identity, nonce ?? "")).toString("base64url");
    return { nkey: identity.nkey, sig };
  };
  return wsconnect({
    servers: url,
    authenticator: authenticator as ReturnType<typeof nkeyAuthenticator>,
    inboxPrefix: `_INBOX.${identity.endpoint}.a`,
    reconnect: false,
  });
}

/** A WebSocket over a raw TCP socket, which can stop reading. */
export class RawWebSocket implements Disposable {
  /** The status line of the handshake's reply, and what followed it. */
  readonly status: Promise<string>;
  received = "";
  isClosed = false;
  readonly socket: Socket;

  constructor(url: string, headers: Readonly<Record<string, string>> = {}) {
    const { hostname, port, pathname } = new URL(url);
    this.socket = openTcp({ host: hostname, port: Number(port) });
    const { promise, resolve } = Promise.withResolvers<string>();
    this.status = promise;
    const lines = [
      `GET ${pathname} HTTP/1.1`,
      ...Object.entries({
        Host: `${hostname}:${port}`,
        Connection: "Upgrade",
        Upgrade: "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        ...headers,
      }).map(([name, value]) => `${name}: ${value}`),
    ];
    this.socket.on("connect", () => this.socket.write(`${lines.join("\r\n")}\r\n\r\n`));
    this.socket.on("data", (bytes: Buffer) => {
      this.received += bytes.toString("latin1");
      resolve(this.received.split("\r\n")[0] ?? "");
    });
    this.socket.on("error", (error: Error) => resolve(`error ${error.message}`));
    this.socket.on("close", () => {
      this.isClosed = true;
      resolve("closed");
    });
  }

  /** Sends text in one masked frame. */
  send(text: string): void {
    const payload = Buffer.from(text);
    const length =
      payload.length < 126
        ? Buffer.from([0x80 | payload.length])
        : Buffer.from([0xfe, payload.length >> 8, payload.length & 255]);
    // An all-zero mask leaves the payload unchanged.
    this.socket.write(Buffer.concat([Buffer.from([0x82]), length, Buffer.alloc(4), payload]));
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}
