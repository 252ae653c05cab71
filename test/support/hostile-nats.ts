/**
 * A hostile NATS server: a proxy that parses the protocol and changes what it carries. It can alter INFO and messages
 * (`info`, `tamper`), inject messages, delay the confirmation of a subscription (`silentOn`, `speak`) and drop what one
 * connection delivers (`hold`). Honest until one of these is set. Used by HostileScene and the attacks on the data
 * plane.
 */
import type { Server } from "./executable.ts";
import { HostileServer } from "./hostile-server.ts";
import { type Link, TcpProxy } from "./tcp-proxy.ts";

/** A message on its way to or from a client. */
export interface Carried {
  readonly subject: string;
  readonly reply: string | undefined;
  /** The raw header block; null if there is none. */
  readonly headers: Buffer | null;
  readonly data: Buffer;
}

/** Replaces a message on its way to a client by any number of messages. */
export type Tamper = (message: Carried) => readonly Carried[];

const end = Buffer.from("\r\n");

/** Splits the protocol's bytes into commands, each with its payload. */
class Splitter {
  #rest: Buffer = Buffer.alloc(0);

  constructor(private readonly onCommand: (line: string, payload: Buffer | null, raw: Buffer) => void) {}

  push(bytes: Buffer): void {
    let rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    for (;;) {
      const at = rest.indexOf(end);
      if (at === -1) break;
      const line = rest.toString("latin1", 0, at);
      const size = /^(?:H?MSG|H?PUB) .* (\d+)$/i.exec(line)?.[1];
      const next = size === undefined ? at + 2 : at + 2 + Number(size) + 2;
      if (rest.length < next) break;
      const payload = size === undefined ? null : rest.subarray(at + 2, next - 2);
      this.onCommand(line, payload, rest.subarray(0, next));
      rest = rest.subarray(next);
    }
    this.#rest = Buffer.from(rest);
  }
}

function carriedOf(isHeadered: boolean, names: readonly string[], sizes: readonly number[], payload: Buffer): Carried {
  const [subject = "", reply] = names;
  const headerSize = isHeadered ? (sizes[0] ?? 0) : 0;
  const headers = isHeadered ? payload.subarray(0, headerSize) : null;
  return { subject, reply, headers, data: payload.subarray(headerSize) };
}

function msg({ subject, reply, headers, data }: Carried, sid: string): Buffer {
  const total = (headers?.length ?? 0) + data.length;
  const sizes = headers === null ? `${total}` : `${headers.length} ${total}`;
  const head = [headers === null ? "MSG" : "HMSG", subject, sid, ...(reply === undefined ? [] : [reply]), sizes];
  return Buffer.concat([Buffer.from(`${head.join(" ")}\r\n`), headers ?? Buffer.alloc(0), data, end]);
}

function matches(pattern: string, subject: string): boolean {
  const [wanted, given] = [pattern.split("."), subject.split(".")];
  for (const [i, token] of wanted.entries()) {
    if (token === ">") return given.length > i;
    if (token !== "*" && token !== given[i]) return false;
  }
  return wanted.length === given.length;
}

/** The NATS proxy, together with an HTTP proxy whose /info refers to it. Lives until the scope ends. */
export class HostileNats implements AsyncDisposable {
  /** What clients published, in order. */
  readonly published: Carried[] = [];
  /** CONNECT lines, as clients sent them. */
  readonly logins: Record<string, unknown>[] = [];
  /** Alters INFO. */
  info: (info: Record<string, unknown>) => Record<string, unknown> = (info) => info;
  /** Alters messages to clients. */
  tamper: Tamper = (message) => [message];
  /** A subject whose subscriptions the proxy does not confirm to clients; their messages are delivered all the same. */
  silentOn: string | null = null;
  #proxy: TcpProxy | null = null;
  readonly #held = new Set<Link>();
  readonly #unsaid: Link[] = [];
  readonly #subscriptions = new Map<Link, Map<string, string>>();

  private constructor(readonly http: HostileServer) {}

  /** Starts both proxies in front of a bus. They are honest at first. */
  static async start(server: Server): Promise<HostileNats> {
    const hostile = new HostileNats(await HostileServer.start(server.ready.http));
    hostile.#proxy = await TcpProxy.start(server.ready.nats, (link) => hostile.#filter(link));
    hostile.http.nats = [hostile.natsUrl];
    return hostile;
  }

  /** The URL for clients to connect to. */
  get url(): string {
    return this.http.url;
  }

  get natsUrl(): string {
    return `nats://127.0.0.1:${this.proxy.port}`;
  }

  get proxy(): TcpProxy {
    if (this.#proxy === null) throw new Error("not started");
    return this.#proxy;
  }

  /** The subjects to which clients subscribe. */
  get followed(): string[] {
    const there = [...this.#subscriptions].filter(([link]) => this.proxy.links.has(link));
    return there.flatMap(([, subscriptions]) => [...subscriptions.values()]);
  }

  /** Delivers a message that no client published to every matching subscription. Returns their number. */
  inject(subject: string, data: string | Uint8Array, reply?: string): number {
    let count = 0;
    const message = { subject, reply, headers: null, data: Buffer.from(data as Uint8Array) };
    for (const [link, subscriptions] of this.#subscriptions) {
      if (!this.proxy.links.has(link)) continue;
      for (const [sid, pattern] of subscriptions) {
        if (!matches(pattern, subject)) continue;
        link.toClient(msg(message, sid));
        count += 1;
      }
    }
    return count;
  }

  /** Sends clients the confirmations that were withheld. */
  speak(): void {
    this.silentOn = null;
    for (const link of this.#unsaid.splice(0)) link.toClient(Buffer.from("PONG\r\n"));
  }

  /** Starts or stops dropping everything that a connection delivers. */
  hold(link: Link | undefined, isHeld: boolean): void {
    if (link === undefined) return;
    if (isHeld) this.#held.add(link);
    else this.#held.delete(link);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#proxy?.[Symbol.asyncDispose]();
    await this.http[Symbol.asyncDispose]();
  }

  #filter(link: Link) {
    const subscriptions = new Map<string, string>();
    this.#subscriptions.set(link, subscriptions);
    let out: Buffer[] = [];
    const fromServer = new Splitter((line, payload, raw) => {
      if (payload !== null) out.push(...this.#tampered(line, payload));
      else if (line.startsWith("INFO ")) {
        out.push(Buffer.from(`INFO ${JSON.stringify(this.info(JSON.parse(line.slice(5))))}\r\n`));
      } else if (line === "PONG" && [...subscriptions.values()].includes(this.silentOn ?? "")) this.#unsaid.push(link);
      else out.push(raw);
    });
    const fromClient = new Splitter((line, payload) => this.#note(line, payload, subscriptions));
    return {
      fromServer: (bytes: Buffer) => {
        out = [];
        fromServer.push(bytes);
        return this.#held.has(link) ? Buffer.alloc(0) : Buffer.concat(out);
      },
      fromClient: (bytes: Buffer) => {
        fromClient.push(bytes);
        return bytes;
      },
    };
  }

  #tampered(line: string, payload: Buffer): Buffer[] {
    const [op = "", subject = "", sid = "", ...rest] = line.split(" ");
    const isHeadered = op.toUpperCase() === "HMSG";
    const names = [subject, ...rest.slice(0, isHeadered ? -2 : -1)];
    const sizes = rest.slice(isHeadered ? -2 : -1).map(Number);
    return this.tamper(carriedOf(isHeadered, names, sizes, payload)).map((message) => msg(message, sid));
  }

  #note(line: string, payload: Buffer | null, subscriptions: Map<string, string>): void {
    const [op = "", ...words] = line.split(" ");
    const verb = op.toUpperCase();
    if (verb === "SUB") subscriptions.set(words.at(-1) ?? "", words[0] ?? "");
    else if (verb === "UNSUB" && words.length === 1) subscriptions.delete(words[0] ?? "");
    else if (verb === "CONNECT") this.logins.push(JSON.parse(line.slice(8)) as Record<string, unknown>);
    else if (payload !== null) {
      const isHeadered = verb === "HPUB";
      const split = isHeadered ? -2 : -1;
      this.published.push(carriedOf(isHeadered, words.slice(0, split), words.slice(split).map(Number), payload));
    }
  }
}
