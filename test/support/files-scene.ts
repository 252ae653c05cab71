/** Two members of a room on a real bus in the test's process, for tests of files; bob's way to it may lie. */
import { type Bus, connect, type Message, type Room } from "../../src/client/index.ts";
import { BlobStore } from "../../src/contracts/blobs.ts";
import { HostileServer } from "./hostile-server.ts";
import { bootInProcess, type InProcess, insertUser, serviceOf } from "./in-process.ts";
import { freshSubject } from "./peer.ts";
import { ProxyPorts } from "./proxy-ports.ts";

/** The bus and its members. Lives until the scope ends. */
export class FilesScene implements AsyncDisposable {
  private constructor(
    readonly running: InProcess,
    /** The way of both members to the bus. */
    readonly way: HostileServer,
    readonly ana: Bus,
    readonly bob: Bus,
  ) {}

  static async start(): Promise<FilesScene> {
    const ports = new ProxyPorts();
    const [, hosts = ""] = ports.args[1]?.split("=") ?? [];
    const running = await bootInProcess({ settings: { http: { hosts: JSON.parse(hosts) } } });
    const url = running.server.ready.http;
    ports.serve(url);
    const way = await HostileServer.start(url);
    const join = async (name: string) =>
      connect({ url: way.url, identity: await insertUser(running, name), state: "memory", lazy: true });
    return new FilesScene(running, way, await join("ana"), await join("bob"));
  }

  /** A new encrypted room of ana, and the same room of bob. */
  async room(): Promise<{ readonly mine: Room; readonly theirs: Room }> {
    const mine = await this.ana.createRoom(freshSubject(), "matrix");
    await mine.membership.add(this.bob.identity.endpoint);
    return { mine, theirs: await this.bob.room(mine.id) };
  }

  /** What ana's blobs cost her, in bytes. */
  charged(): Promise<number> {
    return serviceOf(this.running, BlobStore).bytesOf(this.ana.identity.endpoint);
  }

  /** How many requests of a kind were made since a position in `way.asked`. */
  count(what: RegExp, since = 0): number {
    return this.way.asked.slice(since).filter((one) => what.test(one)).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.ana.close();
    await this.bob.close();
    await this.way[Symbol.asyncDispose]();
    await this.running[Symbol.asyncDispose]();
  }
}

/** The newest message of a room. */
export async function newest(room: Room): Promise<Message> {
  const message = (await room.history({ limit: 1 })).messages.at(-1);
  if (message === undefined) throw new Error("the room has no message");
  return message;
}

/** Bytes that differ from place to place. */
export function content(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
}

/** A stream of unknown size. `before` runs before each chunk of 256 KiB, with its place. */
export function streamOf(
  bytes: Uint8Array,
  before: (at: number) => unknown = () => undefined,
): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream(
    {
      pull: async (controller) => {
        await before(at);
        if (at >= bytes.length) return controller.close();
        controller.enqueue(bytes.subarray(at, at + 262_144));
        at += 262_144;
      },
    },
    { highWaterMark: 0 },
  );
}
