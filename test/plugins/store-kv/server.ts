/** A nats-server for tests, and stores over its buckets. */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { connect, type NatsConnection } from "nats";
import { type KvStore, openKvStore } from "../../../src/plugins/store-kv/store.ts";
import { natsPayloadBytesMax } from "../../../src/wire/room-stream.ts";
import { Folder, until } from "../../support/executable.ts";

const binary = process.env.UNIBUS_NATS_SERVER || resolve(import.meta.dir, "../../../.cache/nats-server/nats-server");

/** A nats-server with JetStream on a free loopback port. Each requested account is empty. */
export class KvServer implements AsyncDisposable {
  readonly #folder: Folder;
  readonly #child: Bun.Subprocess;
  readonly #url: string;
  readonly #connections: NatsConnection[] = [];
  #accounts = 0;

  private constructor(folder: Folder, child: Bun.Subprocess, url: string) {
    this.#folder = folder;
    this.#child = child;
    this.#url = url;
  }

  /** Starts a server with `accounts` empty accounts. */
  static async start(accounts = 1): Promise<KvServer> {
    const folder = new Folder();
    const names = Array.from({ length: accounts }, (_, n) => `A${n}`);
    const config = {
      listen: "127.0.0.1:-1",
      ports_file_dir: folder.path,
      max_payload: natsPayloadBytesMax,
      jetstream: { store_dir: folder.file("store") },
      accounts: Object.fromEntries(
        names.map((name) => [name, { jetstream: "enabled", users: [{ user: name, password: name }] }]),
      ),
    };
    await Bun.write(folder.file("nats.conf"), JSON.stringify(config));
    const child = Bun.spawn([binary, "-c", folder.file("nats.conf")], { stdout: "ignore", stderr: "ignore" });
    const said = (): string => {
      const file = readdirSync(folder.path).find((name) => name.endsWith(`_${child.pid}.ports`));
      return file === undefined ? "" : readFileSync(join(folder.path, file), "utf8");
    };
    // nats-server creates the file before it has written all of it.
    try {
      await until("nats-server logs its address", () => said().trimEnd().endsWith("}"));
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    }
    return new KvServer(folder, child, (JSON.parse(said()) as { nats: string[] }).nats[0] ?? "");
  }

  /** The name of an unused account. */
  freshAccount(): string {
    return `A${this.#accounts++}`;
  }

  /** Opens a separate connection to an account. It closes with the server. */
  async connection(account: string): Promise<NatsConnection> {
    const made = await connect({ servers: this.#url, user: account, pass: account, maxReconnectAttempts: -1 });
    this.#connections.push(made);
    return made;
  }

  /** Opens a store over an account, on a separate connection, which `wrap` can intercept. */
  async store(
    account: string,
    { wrap = (connection) => connection, now = Date.now }: StoreOptions = {},
  ): Promise<KvStore & { readonly connection: NatsConnection }> {
    const connection = await this.connection(account);
    const options = { replicas: 1, onWait: () => undefined, signal: new AbortController().signal, now };
    return { ...(await openKvStore(wrap(connection), options)), connection };
  }

  /** Kills the server, as a crash does. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#connections.map((one) => one.close()));
    await this.kill();
    this.#folder[Symbol.dispose]();
  }
}

/** Options of a test's store. */
export interface StoreOptions {
  readonly wrap?: (connection: NatsConnection) => NatsConnection;
  readonly now?: () => number;
}
