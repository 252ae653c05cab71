/** A lying server: a proxy on loopback that alters or drops what the real bus answers. */
import { createServer, type Server as HttpServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { listenBefore } from "./proxy-ports.ts";

/** A request as it arrived. */
export interface Asked {
  readonly method: string;
  /** path?query. */
  readonly target: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

/** A reply, before it is sent. */
export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
}

/** Replaces a reply: by another one, by itself, or by null, which breaks the connection. */
export type Lie = (answer: Answer, asked: Asked) => Answer | null | Promise<Answer | null>;

/** Answers a request without the real bus; null forwards it. */
export type Pretence = (asked: Asked) => Answer | null;

/** Returns the reply with another JSON body. */
export function withJson(answer: Answer, json: unknown): Answer {
  return { ...answer, body: Buffer.from(JSON.stringify(json)) };
}

async function bodyOf(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** The proxy. Lives until the scope ends; the real bus goes on. */
export class HostileServer implements AsyncDisposable {
  /** Every request, in order, as `METHOD target`. */
  readonly asked: string[] = [];
  /** The data plane addresses for GET /info, overriding any other setting; null for the real ones. */
  nats: readonly string[] | null = null;
  readonly #http: HttpServer;
  #lie: Lie = (answer) => answer;
  #pretence: Pretence = () => null;

  private constructor(private readonly target: string) {
    this.#http = createServer((incoming, outgoing) => {
      this.#serve(incoming, outgoing).catch(() => incoming.socket.destroy());
    });
  }

  /** Starts a proxy in front of a bus, on its own port. It is honest until set to lie. */
  static async start(target: string): Promise<HostileServer> {
    const server = new HostileServer(target);
    await listenBefore(target, server.#http);
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  /** Sets how it alters replies from now on. */
  rewrite(lie: Lie): void {
    this.#lie = lie;
  }

  /** Applies `alter` to the JSON of successful replies to GETs whose path ends with `pathEnd`, from now on. */
  alter<T>(pathEnd: string, alter: (json: T, asked: Asked) => unknown): void {
    this.rewrite((answer, asked) => {
      const isMeant = asked.method === "GET" && (asked.target.split("?")[0] ?? "").endsWith(pathEnd);
      if (!isMeant || answer.status !== 200) return answer;
      return withJson(answer, alter(JSON.parse(answer.body.toString()) as T, asked));
    });
  }

  /** Sets what it answers by itself from now on. */
  pretend(pretence: Pretence): void {
    this.#pretence = pretence;
  }

  /** Makes it honest from now on. */
  honest(): void {
    this.rewrite((answer) => answer);
    this.pretend(() => null);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#http.close(resolve));
    this.#http.closeAllConnections();
    await closed;
  }

  async #serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const { method = "", url: target = "", headers } = incoming;
    this.asked.push(`${method} ${target}`);
    const body = await bodyOf(incoming);
    const asked = { method, target, headers, body };
    const answer = this.#led(await this.#lie(this.#pretence(asked) ?? (await this.#forward(asked)), asked), target);
    if (answer === null) return void incoming.socket.destroy();
    const { "content-length": _, "transfer-encoding": __, connection: ___, ...rest } = answer.headers;
    outgoing.writeHead(answer.status, { ...rest, "content-length": answer.body.byteLength });
    outgoing.end(answer.body);
  }

  #led(answer: Answer | null, target: string): Answer | null {
    if (answer === null || this.nats === null || target !== "/info") return answer;
    // A client that cannot reach that address would connect another way and bypass the hostile server.
    return withJson(answer, { ...(JSON.parse(answer.body.toString()) as object), nats: this.nats, ws: [] });
  }

  /** Forwards to the real bus. The signature names this proxy's address, which the bus accepts since its start. */
  #forward({ method, target, headers, body }: Asked): Promise<Answer> {
    return new Promise((resolve, reject) => {
      // A client's `Connection: close` is for this proxy: passed on, it would close a connection that is used again.
      const { connection: _, ...rest } = headers;
      const forwarded = request(`${this.target}${target}`, { method, headers: rest }, (reply) => {
        bodyOf(reply).then(
          (bytes) => resolve({ status: reply.statusCode ?? 0, headers: reply.headers, body: bytes }),
          reject,
        );
      });
      forwarded.on("error", reject);
      forwarded.end(body);
    });
  }
}
