/**
 * A cluster of three nodes that a test can kill, pause, partition and give wrong clocks; each node is started by one
 * command. A node is running, paused (`halt`), isolated from the others (`isolate`) or stopped, and keeps its addresses
 * over restarts. Used by the chaos runs, the cluster tests in test/faults and
 * test/attacks/replay-on-another-node.test.ts.
 */
import { rmSync } from "node:fs";
import { bucketStream, type buckets, streamName } from "../../../src/wire/names.ts";
import { readiness } from "../../support/cluster.ts";
import { Folder, isAlive, Server, unibus, until } from "../../support/executable.ts";
import { inside, jetStream } from "../../support/inside.ts";
import type { OwnRoom } from "../../support/peer.ts";
import { Clock } from "./clock.ts";
import { type Cut, Link } from "./link.ts";

/** The number of nodes. */
export const nodesCount = 3;
/** How long a cluster may take to recover, in milliseconds. */
export const healMsMax = 60_000;
const startsMax = 3;
const ports = { http: 7101, nats: 7102, ws: 7103, routes: 7104 } as const;
const indices = Array.from({ length: nodesCount }, (_, index) => index);

/** Options for `Nodes.start`. */
export interface NodesOptions {
  /** Further arguments of `unibus serve`. */
  readonly args?: readonly string[];
  /** Whether the routes pass through links, so that a node can be partitioned. */
  readonly linked?: boolean;
}

/** A bucket of the control plane. */
export type BucketName = (typeof buckets)[keyof typeof buckets];

/**
 * Three nodes of one bus. Each has a loopback address that no other process listens on or dials from, so that its ports
 * are still free after a restart. Lives until the scope ends.
 */
export class Nodes implements AsyncDisposable {
  readonly #options: NodesOptions;
  readonly #network = `127.${1 + Math.floor(Math.random() * 254)}.${Math.floor(Math.random() * 256)}`;
  readonly #shared = new Folder();
  readonly #folders: readonly Folder[];
  readonly #servers: (Server | null)[] = indices.map(() => null);
  readonly #halted = new Set<number>();
  /** Indexed by the dialling node, then by the dialled one. */
  readonly #links: (Link | null)[][] = [];
  /** Each node's clock; null where clocks cannot be shifted. */
  readonly clocks: (Clock | null)[] = [];

  private constructor(options: NodesOptions) {
    this.#options = options;
    this.#folders = indices.map(() => new Folder());
  }

  /** Starts all nodes at once and waits until each is ready. */
  static async start(options: NodesOptions = {}): Promise<Nodes> {
    for (let attempt = 1; ; attempt++) {
      const nodes = new Nodes(options);
      try {
        await nodes.#prepare();
        await Promise.all(indices.map((index) => nodes.boot(index)));
        return nodes;
      } catch (error) {
        await nodes[Symbol.asyncDispose]();
        if (attempt === startsMax || !/address (is|already) in use/.test(String(error))) throw error;
      }
    }
  }

  async #prepare(): Promise<void> {
    const made = await unibus(this.#shared, ["cluster", "init", "--out", "secret"]);
    if (made.code !== 0) throw new Error(`cluster init: ${made.stderr}`);
    for (const from of indices) {
      this.clocks.push(this.#options.linked ? await Clock.make(this.#folder(from)) : null);
      const link = (to: number) => (to === from ? null : Link.to(this.#address(to), ports.routes));
      this.#links.push(this.#options.linked ? await Promise.all(indices.map(link)) : []);
    }
  }

  #address(index: number): string {
    return `${this.#network}.${index + 1}`;
  }

  #folder(index: number): Folder {
    const folder = this.#folders[index];
    if (folder === undefined) throw new Error(`no such node: ${index}`);
    return folder;
  }

  /** Returns the arguments of the command that starts a node. */
  argsOf(index: number): string[] {
    const at = (port: number) => `${this.#address(index)}:${port}`;
    const routeTo = (to: number): string => {
      const link = this.#links[index]?.[to];
      return link ? `nats-route://127.0.0.1:${link.port}` : `nats-route://${this.#address(to)}:${ports.routes}`;
    };
    const cluster = {
      ...{ server_name: nameOf(index), name: "chaos", listen: at(ports.routes) },
      ...{ routes: indices.map(routeTo), secret_file: this.#shared.file("secret") },
    };
    const listen = ["--http", at(ports.http), "--nats", at(ports.nats), "--ws", at(ports.ws)];
    const settings = [`nats-embedded.cluster=${JSON.stringify(cluster)}`, "store-kv.replicas=3", "http.rate=1000000"];
    settings.push("rooms.statements_per_minute=0");
    const set = settings.flatMap((setting) => ["--set", setting]);
    return [...listen, "--flag", "decentralized=on", ...set, ...(this.#options.args ?? [])];
  }

  /** Returns the URL of a node's control plane, whether it runs or not. */
  url(index: number): string {
    return `http://${this.#address(index)}:${ports.http}`;
  }

  /** The control plane URLs of all nodes. */
  get urls(): string[] {
    return indices.map((index) => this.url(index));
  }

  /** Returns the NATS URL of a node, whether it runs or not. */
  nats(index: number): string {
    return `nats://${this.#address(index)}:${ports.nats}`;
  }

  /** The running nodes, in order. */
  get running(): Server[] {
    return this.#servers.flatMap((server) => server ?? []);
  }

  /** Returns a node. Throws if it is not running. */
  at(index: number): Server {
    const server = this.#servers[index];
    if (server === null || server === undefined) throw new Error(`node ${index} does not run`);
    return server;
  }

  /** Starts or restarts a node and waits until it is ready. */
  async boot(index: number): Promise<void> {
    const env = this.clocks[index]?.env ?? {};
    const args = this.argsOf(index);
    this.#servers[index] = await Server.start({ folder: this.#folder(index), args, env });
  }

  /** Stops a node gracefully. */
  async stop(index: number): Promise<void> {
    const server = this.at(index);
    this.#servers[index] = null;
    await server.end("SIGTERM");
  }

  /** Kills a node and its nats-server with SIGKILL. */
  async kill(index: number): Promise<void> {
    const server = this.at(index);
    const pid = server.natsPid;
    this.#servers[index] = null;
    const ended = server.end("SIGKILL");
    signal(pid, "SIGKILL");
    await ended;
    await until("its nats-server ended", () => !isAlive(pid));
  }

  /** Deletes the data directory of a stopped node. */
  lose(index: number): void {
    rmSync(this.#folder(index).file("data"), { recursive: true, force: true });
  }

  /** Pauses a node: it answers nothing, and its connections stay open. */
  halt(index: number): void {
    this.#halted.add(index);
    for (const pid of [this.at(index).pid, this.at(index).natsPid]) signal(pid, "SIGSTOP");
  }

  /** Resumes a paused node. */
  resume(index: number): void {
    if (!this.#halted.delete(index)) return;
    for (const pid of [this.at(index).natsPid, this.at(index).pid]) signal(pid, "SIGCONT");
  }

  /** Partitions a node from the others. Clients still reach it. */
  isolate(index: number, how: Cut): void {
    for (const link of this.#linksOf(index)) link.cut(how);
  }

  /** Ends the partition of a node. */
  rejoin(index: number): void {
    for (const link of this.#linksOf(index)) link.heal();
  }

  #linksOf(index: number): Link[] {
    const touching = this.#links.flatMap((row, from) => row.filter((_, to) => from === index || to === index));
    return touching.flatMap((link) => link ?? []);
  }

  /** Returns the node that leads a bucket or a room's stream, as reported by a running node. */
  async leaderOf(what: BucketName | OwnRoom): Promise<number> {
    const stream = typeof what === "string" ? bucketStream(what) : streamName(what.state.roomId);
    let leader: string | undefined;
    await until(`${stream} has a leader`, async () => {
      for (const server of this.running) leader ??= await leaderSaidBy(server, stream).catch(() => undefined);
      return leader !== undefined;
    });
    return indices.findIndex((index) => nameOf(index) === leader);
  }

  /** Waits until all nodes are ready. */
  async untilReady(timeoutMs = healMsMax): Promise<void> {
    const isReady = async (server: Server) => {
      const signal = AbortSignal.timeout(2_000);
      const answer = await fetch(`${server.ready.http}/readyz`, { signal }).catch(() => null);
      return answer?.status === 200;
    };
    try {
      const all = async () => (await Promise.all(this.running.map(isReady))).every(Boolean);
      await until("all nodes are ready", all, timeoutMs);
    } catch (error) {
      const said = await Promise.all(this.running.map((server) => readiness(server).catch(String)));
      throw new Error(`${String(error)}: ${JSON.stringify(said)}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const index of [...this.#halted]) this.resume(index);
    await Promise.all(this.running.map((server) => server[Symbol.asyncDispose]()));
    await Promise.all(this.#links.flat().map((link) => link?.[Symbol.asyncDispose]()));
    for (const folder of [...this.#folders, this.#shared]) folder[Symbol.dispose]();
  }
}

const nameOf = (index: number): string => `node-${index}`;

async function leaderSaidBy(server: Server, stream: string): Promise<string | undefined> {
  const connection = await inside(server, stream.startsWith(bucketStream("")) ? "CTL" : "BUS");
  try {
    type Info = { cluster?: { leader?: string } };
    return (await jetStream<Info>(connection, `STREAM.INFO.${stream}`)).cluster?.leader;
  } finally {
    await connection.close();
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // The process has already ended.
  }
}
