/**
 * The login over WebSocket: it waits for a signature that is made asynchronously, whatever the server sends first.
 * The server is a WebSocket that speaks as much NATS as a login needs.
 */
import { afterEach, describe, expect, test } from "bun:test";
import type { NatsDial } from "../../src/client/transport/nats-connection.ts";
import { dialSocket, LoginRefused } from "../../src/client/transport/nats-socket.ts";
import { dialWebSocket } from "../../src/client/transport/nats-websocket.ts";

const info = `INFO ${JSON.stringify({ nonce: "a-nonce-of-the-server", headers: true, max_payload: 1_000, version: "2.15.1" })}\r\n`;

const stop: (() => unknown)[] = [];
afterEach(() => Promise.all(stop.splice(0).map((end) => end())));

interface Peer {
  readonly send: (bytes: Uint8Array) => void;
  readonly close: () => void;
}

/** A server that begins with `greet`. Collects the lines that it gets, and answers each PING. */
function serverOf(
  greet: (peer: Peer) => void,
  { pongs = Number.POSITIVE_INFINITY } = {},
): { readonly url: string; readonly lines: string[] } {
  const lines: string[] = [];
  let left = pongs;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request, bun) => (bun.upgrade(request) ? undefined : new Response("", { status: 400 })),
    websocket: {
      open: (socket) => greet({ send: (bytes) => void socket.sendBinary(bytes), close: () => socket.close() }),
      message: (socket, data) => {
        for (const line of String(data).split("\r\n").filter(Boolean)) {
          lines.push(line);
          if (line === "PING" && --left >= 0) socket.sendBinary(new TextEncoder().encode("PONG\r\n"));
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

const dialers = [
  ["of Node and Bun", dialWebSocket],
  ["of browsers", dialSocket],
] as const;

describe.each(dialers)("the connection %s", (_, dialWith) => {
  test.each([
    ["at once", [info]],
    ["in two parts", [info.slice(0, 9), info.slice(9)]],
  ])("a server that sends its INFO %s gets the signature of its nonce", async (_, parts) => {
    const { url, lines } = serverOf(({ send }) => parts.forEach((part) => void send(bytesOf(part))));
    const connection = await dialWith(dialTo(url, signed));
    const [verb, json = ""] = lines[0]?.split(/ (.*)/) ?? [];
    expect([verb, JSON.parse(json)]).toMatchObject(["CONNECT", { nkey: "UKEY", sig: "signed a-nonce-of-the-server" }]);
    await connection.close();
  });

  test("a signature that fails ends the attempt with its error", async () => {
    const { url, lines } = serverOf(({ send }) => send(bytesOf(info)));
    const failure = new Error("the key is gone");
    const attempt = dialWith(dialTo(url, () => Promise.reject(failure)));
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
    await expect(dialWith(dialTo(url, signed))).rejects.toThrow();
    expect(performance.now() - began).toBeLessThan(9_000);
    expect(lines).toEqual([]);
  });
});

test("a WebSocket that does not open ends the attempt with its error", async () => {
  const failure = new Error("this runtime has no WebSocket");
  await expect(dialWebSocket(dialTo("ws://127.0.0.1:9", signed), () => Promise.reject(failure))).rejects.toBe(failure);
});

/** A connected browser's connection, and what its server got and can say. */
async function connected() {
  const peers: Peer[] = [];
  const { url, lines } = serverOf((peer) => {
    peers.push(peer);
    peer.send(bytesOf(info));
  });
  const connection = await dialSocket(dialTo(url, signed));
  const says = (text: string) => peers[0]?.send(bytesOf(text));
  return { connection, lines, says, end: () => peers[0]?.close() };
}

describe("a browser's connection", () => {
  test("publishes with reply and id, and delivers messages without their headers until it is drained", async () => {
    const { connection, lines, says } = await connected();
    const got: [string, string, string | undefined][] = [];
    const text = (data: Uint8Array) => new TextDecoder().decode(data);
    const subscribed = connection.subscribe(
      "a.*",
      ({ subject, data, reply }) => got.push([subject, text(data), reply]),
      () => undefined,
    );
    connection.publish("a.b", "one", { reply: "_INBOX.x" });
    connection.publish("a.b", bytesOf("two"), { messageId: "me.1" });
    await connection.flush();
    const header = "NATS/1.0\r\nNats-Msg-Id: me.1\r\n\r\n";
    expect(lines.slice(2, 5)).toEqual(["SUB a.* 1", "PUB a.b _INBOX.x 3", "one"]);
    expect(lines[5]).toBe(`HPUB a.b ${header.length} ${header.length + 3}`);
    says(
      `MSG a.b 1 _INBOX.x 3\r\none\r\nHMSG a.b 1 ${header.length} ${header.length + 3}\r\n${header}two\r\nMSG a.b 9 1\r\nx\r\n`,
    );
    await connection.flush();
    expect(got).toEqual([
      ["a.b", "one", "_INBOX.x"],
      ["a.b", "two", undefined],
    ]);
    expect(() => connection.publish("a", "x", { messageId: "a\r\nb" })).toThrow(TypeError);
    await connection.drain();
    expect([connection.isClosed(), subscribed.isClosed(), lines.includes("UNSUB 1")]).toEqual([true, true, true]);
    expect(() => connection.publish("a", "x", {})).toThrow("closed");
  });

  test("reports what the server refuses, and ends a refused subscription", async () => {
    const { connection, says } = await connected();
    const seen: unknown[] = [];
    connection.watch({ onRefusal: (refusal) => seen.push(refusal), onTrouble: (error) => seen.push(String(error)) });
    const subscription = connection.subscribe(
      "no.way",
      () => undefined,
      () => seen.push("ended"),
    );
    says(
      `-ERR 'Permissions Violation for Subscription to "no.way"'\r\n-ERR 'Permissions Violation for Publish to "no.pub"'\r\n-ERR 'Slow Consumer'\r\n`,
    );
    await connection.flush();
    expect(seen).toEqual([
      "ended",
      { operation: "subscription", subject: "no.way" },
      { operation: "publish", subject: "no.pub" },
      "Error: Slow Consumer",
    ]);
    expect(subscription.isClosed()).toBe(true);
    await connection.close();
  });

  test("that ends fails what waits, once", async () => {
    const { connection, end } = await connected();
    const waiting = connection.flush().then(() => connection.flush());
    end();
    await connection.closed();
    await expect(waiting).rejects.toThrow();
    expect(connection.isClosed()).toBe(true);
    await expect(connection.flush()).rejects.toThrow();
    await connection.close();
  });

  test("gives up a server that answers no pings", async () => {
    const { url } = serverOf(({ send }) => send(bytesOf(info)), { pongs: 1 });
    const connection = await dialSocket({ ...dialTo(url, signed), pingEveryMs: 20 });
    expect(await connection.closed()).toMatchObject({ message: "the server does not answer" });
  });

  test("whose login is refused says so", async () => {
    const { url } = serverOf(({ send }) => send(bytesOf(`${info}-ERR 'Authorization Violation'\r\n`)));
    await expect(dialSocket(dialTo(url, signed))).rejects.toBeInstanceOf(LoginRefused);
  });
});
