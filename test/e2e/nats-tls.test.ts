/**
 * The data plane's listeners: TLS for NATS and WebSocket, certificate renewal on SIGHUP, allowed WebSocket origins,
 * and the URLs that peers are given. Source: docs/protocol/logins.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { copyFileSync, readFileSync } from "node:fs";
import { connect as openTcp } from "node:net";
import { connect as openTls } from "node:tls";
import type { NatsConnection } from "nats";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { Folder, Server, unibus, until } from "../support/executable.ts";
import { addUser, dial } from "../support/peer.ts";
import { RawNats } from "../support/raw-nats.ts";

const folder = new Folder();
const files = { cert: folder.file("cert.pem"), key: folder.file("key.pem") };
const settings = ["--set", `nats-embedded.tls_cert=${files.cert}`, "--set", `nats-embedded.tls_key=${files.key}`];
let server: Server;
let ana: Identity;

function openssl(...args: string[]): void {
  const done = Bun.spawnSync(["openssl", ...args], { cwd: folder.path, stdin: "ignore" });
  if (!done.success) throw new Error(`openssl ${args[0]}: ${done.stderr}`);
}

/** Creates a certificate authority of that name and a loopback certificate: `<name>-ca.pem`, `<name>.pem`. */
function authority(name: string): void {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
  openssl("req", "-x509", ...key, "-subj", `/CN=${name}`, "-keyout", `${name}-ca.key`, "-out", `${name}-ca.pem`);
  const by = ["-CA", `${name}-ca.pem`, "-CAkey", `${name}-ca.key`, "-addext", "subjectAltName=IP:127.0.0.1"];
  const leaf = ["-addext", "basicConstraints=critical,CA:FALSE"];
  openssl("req", "-x509", ...key, "-subj", "/CN=bus", ...by, ...leaf, "-keyout", `${name}.key`, "-out", `${name}.pem`);
}

function install(name: string): void {
  copyFileSync(folder.file(`${name}.pem`), files.cert);
  copyFileSync(folder.file(`${name}.key`), files.key);
}

const ca = (name: string) => readFileSync(folder.file(`${name}-ca.pem`), "utf8");

beforeAll(async () => {
  for (const name of ["right", "wrong", "next"]) authority(name);
  install("right");
  server = await Server.start({ args: settings });
  ana = await addUser(server, "ana", { admin: true });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const dialTls = (name: string): Promise<NatsConnection> =>
  dial(server, ana, { url: server.ready.nats.replace("tls:", "nats:"), tls: { ca: ca(name) }, timeout: 5_000 });

/** The status line that answers a WebSocket handshake, or the reason for its absence. */
function handshake(url: string, options: { origin?: string; ca?: string } = {}): Promise<string> {
  const { hostname, port, protocol } = new URL(url);
  const { promise, resolve } = Promise.withResolvers<string>();
  const address = { host: hostname, port: Number(port) };
  const socket = protocol === "wss:" ? openTls({ ...address, ca: options.ca }) : openTcp(address);
  const lines = [
    "GET / HTTP/1.1",
    `Host: ${hostname}:${port}`,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ...(options.origin === undefined ? [] : [`Origin: ${options.origin}`]),
  ];
  socket.on(protocol === "wss:" ? "secureConnect" : "connect", () => socket.write(`${lines.join("\r\n")}\r\n\r\n`));
  socket.on("data", (bytes: Buffer) => resolve(bytes.toString("latin1").split("\r\n")[0] ?? ""));
  socket.on("error", (error: Error) => resolve(`error ${error.message}`));
  socket.on("close", () => resolve("closed"));
  return promise.finally(() => socket.destroy());
}

/** The serial number of a listener's certificate. Rejects if the listener speaks first: then the client was late. */
function shownAtOnce(url: string): Promise<string> {
  const { hostname, port } = new URL(url);
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = openTls({ host: hostname, port: Number(port), rejectUnauthorized: false });
  // NATS servers speak first unless the client starts TLS at once, as it does here.
  socket.on("secureConnect", () => resolve(socket.getPeerX509Certificate()?.serialNumber ?? ""));
  socket.on("error", reject);
  return promise.finally(() => socket.destroy());
}

/** The serial number of a listener's certificate. A client that a busy machine made late tries again. */
async function shown(url: string): Promise<string> {
  let serial = "";
  await until("the listener shows a certificate", async () => {
    serial = await shownAtOnce(url).catch((error: { code?: unknown }) => {
      if (error.code === "ERR_SSL_WRONG_VERSION_NUMBER") return "";
      throw error;
    });
    return serial !== "";
  });
  return serial;
}

describe("with a certificate", () => {
  test("GET /info names tls:// and wss://", async () => {
    const info = (await (await fetch(`${server.ready.http}/info`)).json()) as { nats: string[]; ws: string[] };
    expect(info.nats).toEqual([server.ready.nats]);
    expect(info.ws).toEqual([server.ready.ws, `${server.ready.http.replace("http:", "ws:")}/nats`]);
    expect(server.ready.nats).toStartWith("tls://127.0.0.1:");
    expect(server.ready.ws).toStartWith("wss://127.0.0.1:");
  });

  test("a NATS client with the right CA is admitted, with another or none it is not", async () => {
    const connection = await dialTls("right");
    await connection.flush();
    await connection.close();
    await expect(dialTls("wrong")).rejects.toThrow();
  });

  test("a NATS client without TLS is not admitted", async () => {
    const { host } = new URL(server.ready.nats);
    using raw = await RawNats.open(`nats://${host}`);
    const login = { user: "unibus-bus", pass: "x" };
    raw.write(`CONNECT ${JSON.stringify({ verbose: false, ...login })}\r\nPING\r\n`);
    await until("the connection is closed", () => raw.isClosed);
    expect(raw.received).not.toContain("PONG");
  });

  test("a WebSocket client is admitted with the right CA, and neither with another nor without TLS", async () => {
    expect(await handshake(server.ready.ws, { ca: ca("right") })).toBe("HTTP/1.1 101 Switching Protocols");
    expect(await handshake(server.ready.ws, { ca: ca("wrong") })).toStartWith("error");
    expect(await handshake(server.ready.ws.replace("wss:", "ws:"))).not.toContain("101");
  });

  test("SIGHUP loads a new one, and a connection reconnects by itself", async () => {
    const serial = (name: string) => new X509Certificate(readFileSync(folder.file(`${name}.pem`))).serialNumber;
    expect(await shown(server.ready.nats)).toBe(serial("right"));
    const both = `${ca("right")}${ca("next")}`;
    const again = { reconnect: true, maxReconnectAttempts: -1, reconnectTimeWait: 20 };
    const old = await dial(server, ana, {
      url: server.ready.nats.replace("tls:", "nats:"),
      tls: { ca: both },
      ...again,
    });
    install("next");
    process.kill(server.pid, "SIGHUP");
    await until("the new certificate is used", async () => (await shown(server.ready.nats)) === serial("next"));
    await until("the WebSocket uses it, too", async () => (await shown(server.ready.ws)) === serial("next"));
    await until("the client is reconnected", () =>
      old.flush().then(
        () => true,
        () => false,
      ),
    );
    await (await dialTls("next")).close();
    await expect(dialTls("right")).rejects.toThrow();
    await old.close();
  });
});

describe("without a certificate", () => {
  const refused = async (...args: string[]): Promise<string> => {
    using own = new Folder();
    const free = ["--http", "127.0.0.1:0", "--nats", "127.0.0.1:0", "--ws", "127.0.0.1:0"];
    const { code, stderr } = await unibus(own, ["serve", "--data", own.file("data"), ...free, ...args]);
    expect(code).toBe(1);
    return stderr;
  };

  test("neither listener can be public", async () => {
    const nats = await refused("--nats", "0.0.0.0:0");
    expect(nats).toContain("nats-embedded.listen 0.0.0.0: a public address needs TLS");
    expect(nats).toContain("--tls-cert and --tls-key");
    expect(await refused("--ws", "[::]:0")).toContain("nats-embedded.ws");
  });

  test("half of a pair, or an invalid file, is refused by name", async () => {
    expect(await refused("--set", `nats-embedded.tls_cert=${files.cert}`)).toContain("--tls-key");
    const none = ["--set", "nats-embedded.tls_cert=/nowhere", "--set", `nats-embedded.tls_key=${files.key}`];
    expect(await refused(...none)).toContain("/nowhere is not a readable PEM file");
  });

  test("web pages of the server itself may open a WebSocket, other pages not, and programs may", async () => {
    await using plain = await Server.start({ args: ["--set", 'nats-embedded.ws_origins=["https://app.example.org"]'] });
    const { ws } = plain.ready;
    const allowed = "HTTP/1.1 101 Switching Protocols";
    expect(await handshake(ws, { origin: "https://app.example.org" })).toBe(allowed);
    expect(await handshake(ws)).toBe(allowed);
    for (const origin of [
      "http://app.example.org",
      "https://app.example.org:444",
      "https://evil.example",
      "https://app.example.org.evil.example",
      "null",
    ]) {
      expect([origin, await handshake(ws, { origin })]).toEqual([origin, "HTTP/1.1 403 Forbidden"]);
    }
  });

  test("without a configured origin those of public_url are allowed", async () => {
    await using own = await Server.start({ args: ["--public-url", "https://bus.example.org"] });
    expect(await handshake(own.ready.ws, { origin: "https://bus.example.org" })).toContain("101");
    expect(await handshake(own.ready.ws, { origin: "https://other.example.org" })).toContain("403");
    expect(await handshake(own.ready.ws, { origin: new URL(own.ready.http).origin })).toContain("403");
  });

  test("without a public_url the page of the listener itself is allowed", async () => {
    const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
    const { port } = probe;
    probe.stop(true);
    await using own = await Server.start({ args: ["--http", `127.0.0.1:${port}`] });
    for (const origin of [`http://127.0.0.1:${port}`, `http://localhost:${port}`]) {
      expect(await handshake(own.ready.ws, { origin })).toContain("101");
    }
    expect(await handshake(own.ready.ws, { origin: "https://evil.example" })).toContain("403");
  });

  test("advertised URLs are sent to clients", async () => {
    const advertise = { nats: ["nats://bus.example.org:5222"], ws: ["wss://bus.example.org/ws"] };
    await using own = await Server.start({ args: ["--set", `nats-embedded.advertise=${JSON.stringify(advertise)}`] });
    const info = (await (await fetch(`${own.ready.http}/info`)).json()) as { nats: string[]; ws: string[] };
    expect([info.nats, info.ws]).toEqual([advertise.nats, advertise.ws]);
  });
});
