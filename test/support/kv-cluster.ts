/** Three nats-servers of a test that replicate the same buckets, and stores over them. */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { connect, type NatsConnection } from "nats";
import { type KvStore, openKvStore } from "../../src/plugins/store-kv/store.ts";
import { natsPayloadBytesMax } from "../../src/wire/room-stream.ts";
import { Folder, until } from "./executable.ts";

const binary = process.env.UNIBUS_NATS_SERVER || resolve(import.meta.dir, "../../.cache/nats-server/nats-server");
const serversCount = 3;
const routePort = 7104;

/** A store as one node has it. */
export type ClusterStore = KvStore & { readonly connection: NatsConnection };

/** Three servers on loopback with empty accounts. Lives until the scope ends. */
export class KvCluster implements AsyncDisposable {
  /** The processes in start order. A server's name ends with its index here. */
  readonly children: Bun.Subprocess[] = [];
  readonly #folder = new Folder();
  // A loopback network that no other process uses: the routes are configured before the servers start.
  readonly #network = `127.${1 + Math.floor(Math.random() * 254)}.${Math.floor(Math.random() * 256)}`;
  readonly #connections: NatsConnection[] = [];
  readonly #urls: string[] = [];

  private constructor() {}

  /** Starts the servers with `accounts` accounts, named `A0` and so on. */
  static async start(accounts = 1): Promise<KvCluster> {
    const cluster = new KvCluster();
    try {
      for (let place = 0; place < serversCount; place++) await cluster.#startServer(place, accounts);
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  /** Opens a store over an account, connected to the server at index `place`. */
  async store(place: number, account = "A0"): Promise<ClusterStore> {
    const servers = this.#urls[place] ?? "";
    const login = { user: account, pass: account };
    const connection = await connect({ servers, ...login, ignoreClusterUpdates: true, maxReconnectAttempts: -1 });
    this.#connections.push(connection);
    const signal = new AbortController().signal;
    const store = await openKvStore(connection, { replicas: 3, onWait: () => undefined, signal, now: Date.now });
    return { ...store, connection };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.#connections) await connection.close();
    for (const child of this.children) {
      child.kill("SIGKILL");
      await child.exited;
    }
    this.#folder[Symbol.dispose]();
  }

  async #startServer(place: number, accounts: number): Promise<void> {
    const [folder, name] = [this.#folder, `n${place}`];
    const routes = Array.from(
      { length: serversCount },
      (_, n) => `nats-route://${this.#network}.${n + 1}:${routePort}`,
    );
    const names = Array.from({ length: accounts }, (_, n) => `A${n}`);
    const config = {
      ...{ server_name: name, listen: "127.0.0.1:-1", ports_file_dir: folder.path, max_payload: natsPayloadBytesMax },
      jetstream: { store_dir: folder.file(name) },
      cluster: { name: "test", listen: `${this.#network}.${place + 1}:${routePort}`, routes },
      accounts: Object.fromEntries(
        names.map((user) => [user, { jetstream: "enabled", users: [{ user, password: user }] }]),
      ),
    };
    await Bun.write(folder.file(`${name}.conf`), JSON.stringify(config));
    const child = Bun.spawn([binary, "-c", folder.file(`${name}.conf`)], { stdout: "ignore", stderr: "ignore" });
    this.children.push(child);
    const said = (): string => {
      const file = readdirSync(folder.path).find((one) => one.endsWith(`_${child.pid}.ports`));
      return file === undefined ? "" : readFileSync(join(folder.path, file), "utf8");
    };
    // The file exists shortly before it is complete.
    await until("nats-server logged its address", () => said().trimEnd().endsWith("}"));
    this.#urls.push((JSON.parse(said()) as { nats: string[] }).nats[0] ?? "");
  }
}
