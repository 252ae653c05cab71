/**
 * Several nodes as one bus: compiled executables on loopback that share a cluster secret and the replicated store. A
 * node is running, paused (`pauseNode`) or stopped; `startNode` restarts it in its folder at its ports. `bootNode`
 * starts a node that may never become ready. Used by the cluster tests in test/e2e and by
 * test/attacks/node-without-the-secret.test.ts.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { executable, Folder, isAlive, layNatsServer, Server, textIn, unibus, until } from "./executable.ts";
import { call, send } from "./peer.ts";

/** How often to start a cluster again because another process took one of its ports. */
const attemptsMax = 3;

/**
 * How many extra nodes a cluster reserves ports and folders for: nodes that do not belong to it, at the next indices.
 */
const sparePorts = 1;

/** Returns loopback ports on which no process currently listens. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = servers.map(
    (server) =>
      new Promise<number>((done) => {
        server.listen(0, "127.0.0.1", () => done((server.address() as { port: number }).port));
      }),
  );
  const free = await Promise.all(ports);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return free;
}

/** Options of a cluster. */
export interface ClusterOptions {
  /** The number of nodes. */
  readonly nodes?: number;
  /** How many of them to start at once; the others wait for `startNode`. */
  readonly started?: number;
  /** The number of replicas of streams and buckets. */
  readonly replicas?: number;
  /** Further settings, by plugin. */
  readonly settings?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly env?: Record<string, string>;
  /** Arguments of every node. */
  readonly args?: readonly string[];
  /** Route TLS of each node. */
  readonly tls?: (node: number) => { readonly cert: string; readonly key: string; readonly ca: string };
}

type Setting = Readonly<Record<string, unknown>>;

/** The nodes of one bus. It, and everything that it started, lives until the scope ends. */
export class Cluster implements AsyncDisposable {
  readonly #options: ClusterOptions;
  readonly #folders: Folder[] = [];
  readonly #running = new Map<number, Server>();
  readonly #stopped = new Set<number>();
  readonly #ports: readonly number[];
  readonly #routes: readonly number[];
  readonly #shared = new Folder();
  /** The file of the secret that all nodes share. */
  readonly secretFile = this.#shared.file("secret");

  private constructor(options: ClusterOptions, ports: readonly number[]) {
    this.#options = options;
    this.#ports = ports;
    this.#routes = ports.slice(0, ports.length - sparePorts);
    for (const _ of ports) this.#folders.push(new Folder());
  }

  /** Starts all nodes at once and waits until each is ready. */
  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    const { nodes = 3, started = nodes } = options;
    for (let attempt = 1; ; attempt++) {
      const cluster = new Cluster(options, await freePorts(nodes + sparePorts));
      const made = await unibus(cluster.#shared, ["cluster", "init", "--out", cluster.secretFile]);
      if (made.code !== 0) throw new Error(`cluster init: ${made.stderr}`);
      try {
        await Promise.all(Array.from({ length: started }, (_, node) => cluster.startNode(node)));
        return cluster;
      } catch (error) {
        await cluster[Symbol.asyncDispose]();
        if (attempt === attemptsMax || !/address is in use|address already in use/.test(String(error))) throw error;
      }
    }
  }

  /** The running nodes, in order. */
  get nodes(): readonly Server[] {
    return [...this.#running].sort(([a], [b]) => a - b).map(([, server]) => server);
  }

  /** Returns a node. Throws if it is not running. */
  node(index: number): Server {
    const server = this.#running.get(index);
    if (server === undefined) throw new Error(`node ${index} does not run`);
    return server;
  }

  /** Returns the folder of a node, which contains its data directory. */
  folder(index: number): Folder {
    const folder = this.#folders[index];
    if (folder === undefined) throw new Error(`no such node: ${index}`);
    return folder;
  }

  /** Returns the port on which a node listens for the others. */
  routePort(index: number): number {
    return this.#ports[index] ?? 0;
  }

  /** Returns the setting `nats-embedded.cluster` of a node. */
  setting(index: number, otherwise: Setting = {}): Setting {
    return {
      server_name: `node-${index}`,
      name: "test",
      listen: `127.0.0.1:${this.routePort(index)}`,
      routes: this.#routes.map((port) => `nats-route://127.0.0.1:${port}`),
      secret_file: this.secretFile,
      ...(this.#options.tls === undefined ? {} : { tls: this.#options.tls(index) }),
      ...otherwise,
    };
  }

  /** Writes a node's plugins.json into its data directory, where commands on the host find it, too. */
  configure(index: number, otherwise: Setting = {}): void {
    const manifest = JSON.parse(readFileSync(resolve(import.meta.dir, "../../plugins.json"), "utf8")) as {
      flags: Record<string, boolean>;
      plugins: { use: string; config?: object }[];
      http?: object;
    };
    const { settings = {}, replicas = 3 } = this.#options;
    const own: Record<string, object> = {
      "nats-embedded": { cluster: this.setting(index, otherwise) },
      "store-kv": { replicas },
    };
    for (const row of manifest.plugins) row.config = { ...row.config, ...own[row.use], ...settings[row.use] };
    manifest.flags.decentralized = true;
    manifest.http = { rate: 100_000, ...settings.http };
    const data = this.folder(index).file("data");
    mkdirSync(data, { recursive: true, mode: 0o700 });
    layNatsServer(data);
    writeFileSync(join(data, "plugins.json"), JSON.stringify(manifest));
  }

  /** Starts or restarts a node and waits until it is ready. */
  async startNode(index: number): Promise<Server> {
    this.configure(index);
    const { env = {}, args = [] } = this.#options;
    const server = await Server.start({ folder: this.folder(index), env, args });
    this.#running.set(index, server);
    return server;
  }

  /** Starts a node without waiting for it: the others may be down. Lives until the scope ends. */
  bootNode(index: number, otherwise: Setting = {}): BootingNode {
    this.configure(index, otherwise);
    return new BootingNode(this.folder(index));
  }

  /** Ends a node by a signal. SIGKILL gives it no time to shut down. */
  async endNode(index: number, signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    const server = this.node(index);
    this.resumeNode(index);
    this.#running.delete(index);
    const pid = server.natsPid;
    const ended = server.end(signal);
    if (signal === "SIGKILL" && pid > 1) signalTo(pid, "SIGKILL");
    await ended;
    await until("its nats-server ended", () => pid <= 1 || !isAlive(pid));
  }

  /** Pauses a node: it answers nothing, and its connections stay open. */
  pauseNode(index: number): void {
    this.#stopped.add(index);
    for (const pid of [this.node(index).pid, this.node(index).natsPid]) signalTo(pid, "SIGSTOP");
  }

  /** Resumes a paused node. */
  resumeNode(index: number): void {
    if (!this.#stopped.delete(index)) return;
    for (const pid of [this.node(index).natsPid, this.node(index).pid]) signalTo(pid, "SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const index of [...this.#stopped]) this.resumeNode(index);
    // Their folders are removed, so they are only killed.
    await Promise.all([...this.#running.keys()].map((index) => this.endNode(index, "SIGKILL")));
    for (const folder of [...this.#folders, this.#shared]) folder[Symbol.dispose]();
  }
}

/** A node that may never become ready. Lives until the scope ends. */
export class BootingNode implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"ignore", "ignore", "pipe">;
  readonly #data: string;
  readonly #read: Promise<void>;
  /** The log so far. */
  log = "";

  constructor(folder: Folder) {
    this.#data = folder.file("data");
    const free = ["--http", "--nats", "--ws"].flatMap((name) => [name, "127.0.0.1:0"]);
    this.#child = Bun.spawn([executable, "serve", "--data", this.#data, ...free], {
      cwd: folder.path,
      env: { PATH: process.env.PATH ?? "", HOME: folder.path },
      ...{ stdin: "ignore", stdout: "ignore", stderr: "pipe" },
    });
    this.#read = this.#readLog();
  }

  /** Whether the node has reported that it is ready. */
  get isReady(): boolean {
    return existsSync(join(this.#data, "ready.json"));
  }

  /** Resolves with the exit code. */
  get exited(): Promise<number> {
    return this.#child.exited;
  }

  async #readLog(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#child.stderr) this.log += decoder.decode(chunk, { stream: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const file = join(this.#data, "nats", "nats.pid");
    const pid = Number(textIn(file) ?? 0);
    this.#child.kill("SIGTERM");
    await this.#child.exited;
    await this.#read;
    await until("its nats-server ended", () => pid <= 1 || !isAlive(pid));
  }
}

function signalTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // The process has already ended.
  }
}

/** Returns the /readyz of a node: its status, and the state of each plugin. */
export async function readiness(
  server: Server,
): Promise<{ status: number; plugins: Readonly<Record<string, { ok: boolean; detail?: string }>> }> {
  const { status, json } = await send(`${server.ready.http}/readyz`);
  return { status, plugins: (json.plugins ?? {}) as Readonly<Record<string, { ok: boolean; detail?: string }>> };
}

/** Reports whether every running node is ready. */
export async function areReady(cluster: Cluster): Promise<boolean> {
  const all = await Promise.all(cluster.nodes.map((server) => readiness(server).catch(() => ({ status: 0 }))));
  return all.every(({ status }) => status === 200);
}

/** Sends a signed GET to every running node. Returns the status of each. */
export async function statusAt(
  cluster: Cluster,
  identity: Parameters<typeof call>[1],
  target = "/directory",
): Promise<number[]> {
  return Promise.all(cluster.nodes.map(async ({ ready }) => (await call(ready.http, identity, "GET", target)).status));
}
