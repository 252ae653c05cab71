/** A network link from one node to another that the test can cut. */
import { connect, createServer, type Server, type Socket } from "node:net";

/** How a link fails: packets vanish while connections stay open, or every connection is reset. */
export type Cut = "silent" | "reset";

/** A TCP proxy on loopback that can be cut and healed. Lives until the scope ends. */
export class Link implements AsyncDisposable {
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #cut: Cut | null = null;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Listens on a free port of 127.0.0.1 and forwards to a target, which need not exist yet. */
  static async to(hostname: string, port: number): Promise<Link> {
    const server = createServer({ pauseOnConnect: true });
    const link = new Link(server);
    server.on("connection", (near) => link.#carry(near, hostname, port));
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    return link;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  /** Lets nothing pass from now on. */
  cut(how: Cut): void {
    this.#cut = how;
    for (const pair of this.#pairs) {
      for (const socket of pair) how === "reset" ? socket.destroy() : socket.pause();
    }
  }

  /** Lets the bytes that were held back pass. */
  heal(): void {
    this.#cut = null;
    for (const pair of this.#pairs) for (const socket of pair) socket.resume();
  }

  #carry(near: Socket, hostname: string, port: number): void {
    if (this.#cut === "reset") return void near.destroy();
    const far = connect({ host: hostname, port });
    const pair = [near, far] as const;
    this.#pairs.add(pair);
    for (const [from, to] of [pair, [far, near] as const]) {
      from.setNoDelay(true);
      from.on("data", (bytes) => {
        if (!to.write(bytes)) from.pause();
      });
      to.on("drain", () => this.#cut === null && from.resume());
      from.on("error", () => undefined);
      from.on("close", () => {
        this.#pairs.delete(pair);
        to.destroy();
      });
    }
    // The target may not listen yet: then this connection closes, and the dialling node retries.
    if (this.#cut === null) near.resume();
    else far.pause();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
    await new Promise((done) => this.#server.close(done));
  }
}
