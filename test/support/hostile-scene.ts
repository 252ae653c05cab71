/** A room whose reader is behind a hostile server: the scene of most attacks on the data plane. */
import { sealFrame } from "../../src/client/crypto/frames.ts";
import type { Identity } from "../../src/client/crypto/identity.ts";
import type { Draft } from "../../src/client/crypto/sealing.ts";
import {
  Bus,
  type BusEvents,
  type ClientState,
  MemoryState,
  type Message,
  type Policy,
  type Room,
} from "../../src/client/index.ts";
import { bytesOf } from "../../src/wire/encoding.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import { Server, until } from "./executable.ts";
import { HostileNats } from "./hostile-nats.ts";
import { MovedClock } from "./moved-clock.ts";
import { addUser, dial, freshSubject, postUser } from "./peer.ts";
import { trustingPeer } from "./trusting-peer.ts";

/** The fields of a forged frame that differ from the room's own. */
export interface Forgery extends Partial<Draft> {
  readonly by: Identity;
  readonly text?: string;
  readonly subject?: string;
  readonly roomId?: string;
  readonly epoch?: number;
  readonly policy?: Policy;
  readonly roomKey?: Uint8Array | null;
}

/** The scene: ana owns the room, bob reads it through the hostile server, cleo is a member, eve is not. */
export class HostileScene implements AsyncDisposable {
  readonly got: Message[] = [];
  readonly suspicious: BusEvents["suspicious"][] = [];
  readonly trouble: unknown[] = [];
  readonly #keys = new Map<number, Promise<Uint8Array>>();
  /** The clocks of bob's computer. */
  readonly clock: MovedClock;
  /** The error that ended bob's reading; undefined while it continues. */
  ended: unknown;

  private constructor(
    /** The state of bob's client. */
    readonly bobState: ClientState,
    readonly server: Server,
    readonly hostile: HostileNats,
    readonly ana: Bus,
    readonly bob: Bus,
    readonly cleo: Bus,
    readonly eve: Identity,
    /** The room, as ana's client has it. */
    readonly mine: Room,
    /** The room, as bob's client has it. */
    readonly theirs: Room,
    clock: MovedClock,
  ) {
    this.clock = clock;
  }

  /** Sets up the scene. A server that is given outlives it. */
  static async open(
    server: Server,
    { admin, mode = "matrix" }: { readonly admin: Identity; readonly mode?: "matrix" | "nats" | Policy },
  ): Promise<HostileScene> {
    const hostile = await HostileNats.start(server);
    const bobState = new MemoryState();
    const clock = new MovedClock();
    const join = async (name: string, url: string, state: ClientState = new MemoryState()): Promise<Bus> => {
      const ownClock = name === "bob" ? clock : undefined;
      return Bus.connect({ urls: [url], identity: await postUser(server, admin, name), state, ownClock });
    };
    const ana = await join("ana", server.ready.http);
    const bob = await join("bob", hostile.url, bobState);
    const cleo = await join("cleo", server.ready.http);
    const mine = await ana.createRoom(freshSubject(), mode);
    await mine.membership.add([bob.identity.endpoint, cleo.identity.endpoint]);
    await Promise.all([bob.control.acceptRoom(mine.id), cleo.control.acceptRoom(mine.id)]);
    const theirs = await bob.room(mine.id);
    const eve = await postUser(server, admin, "eve");
    const scene = new HostileScene(bobState, server, hostile, ana, bob, cleo, eve, mine, theirs, clock);
    bob.on("suspicious", (what) => scene.suspicious.push(what));
    bob.on("trouble", (error) => scene.trouble.push(error));
    await theirs.onMessage((message) => scene.got.push(message), {
      onEnd: (error) => {
        scene.ended = error;
      },
    });
    // While connections are swapped, a duplicate may be a copy from the other connection: it is not counted.
    await until("bob has one connection", () => hostile.proxy.links.size === 1);
    return scene;
  }

  /** Starts a server with an admin, for `open`. */
  static async server(): Promise<{ readonly server: Server; readonly admin: Identity }> {
    const server = await Server.start({ proxied: true, args: ["--set", "http.rate=100000"] });
    return { server, admin: await addUser(server, "root", { admin: true }) };
  }

  /** The texts that were delivered to bob. */
  get texts(): string[] {
    return this.got.map(({ text }) => text);
  }

  /** What bob's client dropped, by reason. */
  get dropped(): Readonly<Record<string, number>> {
    return this.theirs.stats().dropped;
  }

  /** Returns the room key of an epoch, as its owner has it. It is read once. */
  key(epoch = this.mine.epoch): Promise<Uint8Array> {
    const key = this.#keys.get(epoch) ?? this.#readKey(epoch);
    this.#keys.set(epoch, key);
    return key;
  }

  async #readKey(epoch: number): Promise<Uint8Array> {
    const { keys } = await trustingPeer(this.ana.identity, [this.server.ready.http]).open(this.mine.id);
    const key = await keys.key(epoch);
    if (key === null) throw new Error("this room has no keys");
    return key;
  }

  /** Returns the bytes of a frame: as a member would write it, except for the given fields. */
  async frame({ by, text = "forged", ...other }: Forgery): Promise<Uint8Array> {
    const { policy, epoch } = this.mine.state.state;
    const { subject = this.mine.subject, roomId = this.mine.id, roomKey, ...draft } = other;
    const given = { subject, roomId, policy: other.policy ?? policy, epoch: other.epoch ?? epoch };
    const key = roomKey === undefined && given.policy.encrypt ? await this.key() : (roomKey ?? null);
    return sealFrame({ id: newUlid(), payload: bytesOf(text), ...draft }, { ...given, roomKey: key }, by);
  }

  /** Delivers bytes to bob as if they had been published in the room. */
  inject(bytes: Uint8Array | string, subject = this.mine.subject): void {
    if (this.hostile.inject(subject, bytes) === 0) throw new Error("no connection is subscribed");
  }

  /** Publishes bytes in the room as a member with a plain NATS client: the bus stores and delivers them. */
  async publish(by: Identity, ...frames: readonly Uint8Array[]): Promise<void> {
    const connection = await dial(this.server, by);
    for (const bytes of frames) connection.publish(this.mine.subject, bytes);
    await connection.drain();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const bus of [this.ana, this.bob, this.cleo]) await bus.close();
    await this.hostile[Symbol.asyncDispose]();
  }
}

/** Replaces some fields of a frame and keeps their order. Returns its bytes. */
export function rewritten(frame: Uint8Array, fields: Readonly<Record<string, unknown>>): Uint8Array {
  return bytesOf(JSON.stringify({ ...(JSON.parse(new TextDecoder().decode(frame)) as object), ...fields }));
}
