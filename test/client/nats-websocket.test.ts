/**
 * The login over WebSocket: it waits for a signature that is made asynchronously, whatever the server sends first.
 * The server is a WebSocket that speaks as much NATS as a login needs.
 */
import { afterEach, expect, test } from "bun:test";
import type { NatsDial } from "../../src/client/transport/nats-connection.ts";
import { dialWebSocket } from "../../src/client/transport/nats-websocket.ts";

const info = `INFO ${JSON.stringify({ nonce: "a-nonce-of-the-server", headers: true, max_payload: 1_000, version: "2.15.1" })}\r\n`;

const stop: (() => unknown)[] = [];
afterEach(() => Promise.all(stop.splice(0).map((end) => end())));

interface Peer {
  readonly send: (bytes: Uint8Array) => void;
  readonly close: () => void;
}

/** A server that begins with `greet`. Collects the lines that it gets, and answers each PING. */
function serverOf(greet: (peer: Peer) => void): { readonly url: string; readonly lines: string[] } {
  const lines: string[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request, bun) => (bun.upgrade(request) ? undefined : new Response("", { status: 400 })),
    websocket: {
      open: (socket) => greet({ send: (bytes) => void socket.sendBinary(bytes), close: () => socket.close() }),
      message: (socket, data) => {
        for (const line of String(data).split("\r\n").filter(Boolean)) {
          lines.push(line);
          if (line === "PING") socket.sendBinary(new TextEncoder().encode("PONG\r\n"));
        }
      },
    },
  });
  stop.push(() => server.stop(true));
  return { url: `ws://127.0.0.1:${server.port}`, lines };
}

const bytesOf = (text: string) => new TextEncoder().encode(text);
const dialTo = (url: string, login: NatsDial["login"]): NatsDial => ({
  ...{ url, login, timeoutMs: 10_000, pingEveryMs: 60_000 },
});
const signed: NatsDial["login"] = async (nonce) => {
  await new Promise((resolve) => setTimeout(resolve));
  return { nkey: "UKEY", sig: `signed ${nonce}` };
};

test.each([
  ["at once", [info]],
  ["in two parts", [info.slice(0, 9), info.slice(9)]],
])("a server that sends its INFO %s gets the signature of its nonce", async (_, parts) => {
  const { url, lines } = serverOf(({ send }) => parts.forEach((part) => void send(bytesOf(part))));
  const connection = await dialWebSocket(dialTo(url, signed));
  const [verb, json = ""] = lines[0]?.split(/ (.*)/) ?? [];
  expect([verb, JSON.parse(json)]).toMatchObject(["CONNECT", { nkey: "UKEY", sig: "signed a-nonce-of-the-server" }]);
  await connection.close();
});

test("a WebSocket that does not open ends the attempt with its error", async () => {
  const failure = new Error("this runtime has no WebSocket");
  await expect(dialWebSocket(dialTo("ws://127.0.0.1:9", signed), () => Promise.reject(failure))).rejects.toBe(failure);
});

test("a signature that fails ends the attempt with its error", async () => {
  const { url, lines } = serverOf(({ send }) => send(bytesOf(info)));
  const failure = new Error("the key is gone");
  const attempt = dialWebSocket(dialTo(url, () => Promise.reject(failure)));
  await expect(attempt).rejects.toBe(failure);
  expect(lines).toEqual([]);
});

test.each<[string, (peer: Peer) => void]>([
  ["closes", ({ close }) => close()],
  ["closes in the middle of its INFO", ({ send, close }) => [send(bytesOf(info.slice(0, 20))), close()]],
  ["sends a line that is not an INFO", ({ send }) => send(bytesOf("-ERR 'no'\r\n"))],
  ["sends an INFO that is not JSON", ({ send }) => send(bytesOf("INFO {nonce}\r\n"))],
  // Without a limit this would wait for the end of the line until the attempt's timeout.
  ["never ends its line", ({ send }) => send(new Uint8Array(70_000).fill(0x41))],
])("a server that %s is refused before the timeout, and gets no signature", async (_, greet) => {
  const { url, lines } = serverOf(greet);
  const began = performance.now();
  await expect(dialWebSocket(dialTo(url, signed))).rejects.toThrow();
  expect(performance.now() - began).toBeLessThan(9_000);
  expect(lines).toEqual([]);
});
