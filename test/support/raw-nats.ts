/** A NATS client in raw bytes: it sends what no client library would, and shows what comes back unchanged. */
import { connect as openSocket } from "node:net";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { natsText } from "../../src/wire/sign.ts";
import { until } from "./executable.ts";
import { hostToSign } from "./host-to-sign.ts";
import { rawSign } from "./peer.ts";

/** The fields of INFO that a login needs. */
export interface ServerInfo {
  readonly nonce?: string;
  readonly max_payload: number;
}

/** The fields of CONNECT that identify the user. */
export type Credentials = Readonly<Record<string, string>>;

const bytesOf = (part: string | Uint8Array): Uint8Array =>
  typeof part === "string" ? new Uint8Array(Buffer.from(part, "latin1")) : part;

/** One connection, over TCP or WebSocket. Lives until the scope ends. */
export class RawNats implements Disposable {
  /** Everything received, one character per byte. */
  received = "";
  /** The host:port for which a login here is signed. */
  readonly host: string;
  isClosed = false;
  /** Whether it answers the server's pings, as every live client does. */
  answersPings = true;
  #write: (bytes: Uint8Array) => void = () => undefined;
  #end: () => void = () => undefined;

  private constructor(host: string) {
    this.host = host;
  }

  /** Connects and waits for INFO. */
  static async open(url: string): Promise<RawNats> {
    const raw = new RawNats(hostToSign(url));
    const { protocol, hostname, port } = new URL(url);
    if (protocol === "ws:") raw.#useWebSocket(url);
    else raw.#useSocket(hostname, Number(port));
    await until("INFO", () => raw.received.includes("\r\n") || raw.isClosed);
    return raw;
  }

  get info(): ServerInfo {
    return JSON.parse(/^INFO (.*)\r\n/.exec(this.received)?.[1] ?? "{}") as ServerInfo;
  }

  /** Sends text or bytes unchanged. */
  write(...parts: readonly (string | Uint8Array)[]): void {
    this.#write(Buffer.concat(parts.map(bytesOf)));
  }

  /** Sends and waits until the server has processed everything or hung up. Returns what arrived in that time. */
  async exchange(...parts: readonly (string | Uint8Array)[]): Promise<string> {
    const mark = this.received.length;
    this.write(...parts, "PING\r\n");
    await until("PONG", () => this.isClosed || /(^|\r\n)PONG\r\n/.test(this.received.slice(mark)));
    return this.received.slice(mark);
  }

  /** Logs in. Returns the server's refusal, or "" if the login succeeds. */
  async login(credentials: Credentials): Promise<string> {
    const options = { verbose: false, pedantic: false, headers: true, no_responders: true, lang: "raw", version: "0" };
    const answer = await this.exchange(`CONNECT ${JSON.stringify({ ...options, ...credentials })}\r\n`);
    return /(^|\r\n)PONG\r\n/.test(answer) ? "" : (/-ERR '([^']*)'/.exec(answer)?.[1] ?? "hung up");
  }

  [Symbol.dispose](): void {
    this.#end();
  }

  #take(bytes: Uint8Array): void {
    this.received += Buffer.from(bytes).toString("latin1");
    if (this.answersPings && /(^|\r\n)PING\r\n$/.test(this.received)) this.write("PONG\r\n");
  }

  #useSocket(host: string, port: number): void {
    const socket = openSocket({ host, port });
    socket.on("data", (bytes) => this.#take(bytesOf(bytes)));
    socket.on("close", () => {
      this.isClosed = true;
    });
    // A broken connection shows as closed.
    socket.on("error", () => undefined);
    this.#write = (bytes) => socket.write(bytes);
    this.#end = () => socket.destroy();
  }

  #useWebSocket(url: string): void {
    const socket = new WebSocket(url);
    const opened = Promise.withResolvers<void>();
    socket.binaryType = "arraybuffer";
    socket.onopen = () => opened.resolve();
    socket.onmessage = ({ data }) => this.#take(new Uint8Array(data as ArrayBuffer));
    socket.onclose = () => {
      this.isClosed = true;
    };
    this.#write = (bytes) => void opened.promise.then(() => this.isClosed || socket.send(new Uint8Array(bytes)));
    this.#end = () => socket.close();
  }
}

/** Builds an identity's login for a connection: signs the text of kind `nats` or, as stock tools do, only the nonce. */
export function loginOf(identity: Identity, raw: RawNats, options: { host?: string; stock?: boolean } = {}) {
  const nonce = raw.info.nonce ?? "";
  const text = options.stock ? nonce : natsText(options.host ?? raw.host, nonce);
  return { nkey: identity.nkey, sig: Buffer.from(rawSign(identity, text)).toString("base64url") };
}

/** Opens a connection and logs in as an identity. */
export async function rawPeer(url: string, identity: Identity): Promise<RawNats> {
  const raw = await RawNats.open(url);
  const refusal = await raw.login(loginOf(identity, raw));
  if (refusal !== "") throw new Error(`login: ${refusal}`);
  return raw;
}

/** Builds a publish with any bytes as its header block, even invalid ones. */
export function hpub(subject: string, headers: string | Uint8Array, payload: string | Uint8Array, reply = ""): Buffer {
  const [block, data] = [bytesOf(headers), bytesOf(payload)];
  const head = `HPUB ${subject} ${reply}${reply === "" ? "" : " "}${block.length} ${block.length + data.length}\r\n`;
  return Buffer.concat([Buffer.from(head), block, data, Buffer.from("\r\n")]);
}

/** Builds a publish without headers. */
export function pub(subject: string, payload: string | Uint8Array, reply = ""): Buffer {
  const data = bytesOf(payload);
  const head = `PUB ${subject} ${reply}${reply === "" ? "" : " "}${data.length}\r\n`;
  return Buffer.concat([Buffer.from(head), data, Buffer.from("\r\n")]);
}
