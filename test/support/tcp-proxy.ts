/** A loopback proxy in front of a TCP server: its connections can be cut, and what they carry can be changed. */
import { type AddressInfo, createServer, connect as openSocket, type Server, type Socket } from "node:net";
import { listenBefore } from "./proxy-ports.ts";

/** One connection of a client, with the connection to the server behind it. */
export interface Link {
  /** Closes both connections abruptly. */
  cut(): void;
  /** Injects bytes into those from the server. */
  toClient(bytes: Uint8Array): void;
  /** Injects bytes into those from the client. */
  toServer(bytes: Uint8Array): void;
}

/** Transforms the bytes of one connection: what it returns is forwarded. */
export interface Filter {
  fromServer(bytes: Buffer): Uint8Array;
  fromClient(bytes: Buffer): Uint8Array;
}

const plain: Filter = { fromServer: (bytes) => bytes, fromClient: (bytes) => bytes };

/** Forwards bytes with backpressure. */
function pour(from: Socket, to: Socket, change: (bytes: Buffer) => Uint8Array): void {
  from.on("data", (bytes: Buffer) => {
    if (!to.write(change(bytes))) from.pause();
  });
  to.on("drain", () => from.resume());
  from.on("error", () => to.destroy());
  from.on("close", () => to.destroy());
}

/** The proxy. Lives until the scope ends. */
export class TcpProxy implements AsyncDisposable {
  /** The open connections, oldest first. */
  readonly links = new Set<Link>();
  /** Whether it hangs up on every new connection. */
  isRefusing = false;
  readonly #server: Server;

  private constructor(target: URL, filterOf: (link: Link) => Filter) {
    this.#server = createServer((client) => {
      if (this.isRefusing) return void client.destroy();
      const server = openSocket({ host: target.hostname, port: Number(target.port), noDelay: true });
      client.setNoDelay(true);
      const link: Link = {
        cut: () => {
          client.destroy();
          server.destroy();
        },
        toClient: (bytes) => void client.write(bytes),
        toServer: (bytes) => void server.write(bytes),
      };
      this.links.add(link);
      client.on("close", () => this.links.delete(link));
      const filter = filterOf(link);
      pour(server, client, (bytes) => filter.fromServer(bytes));
      pour(client, server, (bytes) => filter.fromClient(bytes));
    });
  }

  /** Starts a proxy in front of a server. With `address`, on a port there that the server does not know. */
  static async start(url: string, filterOf: (link: Link) => Filter = () => plain, address?: string): Promise<TcpProxy> {
    const proxy = new TcpProxy(new URL(url), filterOf);
    if (address === undefined) await listenBefore(url, proxy.#server);
    else await new Promise<void>((resolve) => proxy.#server.listen(0, address, resolve));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Cuts all open connections. Returns their number. */
  cutAll(): number {
    const { size } = this.links;
    for (const link of [...this.links]) link.cut();
    return size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.cutAll();
    await closed;
  }
}
