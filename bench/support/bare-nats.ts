import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { connect, type NatsConnection } from "nats";
import { natsServer } from "../../scripts/nats-server.ts";
import { type RoomStreamConfig, roomStreamConfig } from "../../src/wire/room-stream.ts";
import { Folder, until } from "../../test/support/executable.ts";

const startTimeoutMs = 20_000;

/** The nats-server that unibus ships, with JetStream and without unibus. Disposing it stops the server. */
export class BareNats implements AsyncDisposable {
  readonly #folder = new Folder();
  readonly #binary: string;
  #child: Bun.Subprocess | null = null;

  private constructor(binary: string) {
    this.#binary = binary;
  }

  /** Starts a server. */
  static async start(): Promise<BareNats> {
    const bare = new BareNats(await natsServer());
    await bare.restart();
    return bare;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Stops the server if it runs, and starts it on the same store. Returns the milliseconds until it listens. */
  async restart(): Promise<number> {
    await this.#end();
    const ports = this.#folder.file("ports");
    rmSync(ports, { recursive: true, force: true });
    mkdirSync(ports);
    const args = ["-js", "-sd", this.#folder.file("store"), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", ports];
    const began = performance.now();
    const child = Bun.spawn([this.#binary, ...args], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
    this.#child = child;
    await until("a bare nats-server listens", () => readdirSync(ports).length > 0, startTimeoutMs);
    return performance.now() - began;
  }

  /** Opens a connection, which the caller must close. */
  connect(): Promise<NatsConnection> {
    const file = this.#folder.file("ports", readdirSync(this.#folder.file("ports"))[0] ?? "");
    const { nats } = JSON.parse(readFileSync(file, "utf8")) as { nats: string[] };
    return connect({ servers: nats[0] ?? "" });
  }

  async #end(): Promise<void> {
    this.#child?.kill("SIGTERM");
    await this.#child?.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
    if (existsSync(this.#folder.path)) this.#folder[Symbol.dispose]();
  }
}

/** The stream configuration that unibus would use for a room. */
export function bareStream(index: number): RoomStreamConfig {
  const roomId = `BARE${index}`;
  return roomStreamConfig({ roomId, subject: `room.bare${index}`, replicas: 1, bytesMax: -1, whenFull: "refuse" });
}

/** Creates a stream with one JetStream API call. */
export async function createStream(connection: NatsConnection, config: RoomStreamConfig): Promise<void> {
  const reply = await connection.request(`$JS.API.STREAM.CREATE.${config.name}`, JSON.stringify(config));
  const { error } = reply.json<{ error?: { description: string } }>();
  if (error !== undefined) throw new Error(`STREAM.CREATE: ${error.description}`);
}
