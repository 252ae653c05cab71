/** The way from one node to another, in the hands of the test. */
import { connect, createServer, type Server, type Socket } from "node:net";

/** How a link is cut: packets vanish and connections stay open, or each connection is reset. */
export type Cut = "silent" | "reset";

/** A TCP proxy on loopback that can be cut and healed. Ends with the scope that holds it. */
export class Link implements AsyncDisposable {
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #cut: Cut | null = null;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Listens on a free port of 127.0.0.1 and carries what comes to a target, also to one that is not there yet. */
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

  /** From now on nothing passes. */
  cut(how: Cut): void {
    this.#cut = how;
    for (const pair of this.#pairs) {
      for (const socket of pair) how === "reset" ? socket.destroy() : socket.pause();
    }
  }

  /** What was held back goes on its way. */
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
    // A node may be asked before it listens: then this closes, and is tried again by the one who asks.
    if (this.#cut === null) near.resume();
    else far.pause();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
    await new Promise((done) => this.#server.close(done));
  }
}
