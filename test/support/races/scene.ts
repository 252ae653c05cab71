/**
 * The people and rooms of one race: a room with an owner and a member, a candidate who is not in any room, and a
 * newcomer with an invite. Each race creates its own, so that many races can share one bus.
 */
import type { NatsConnection } from "nats";
import { ulid } from "ulid";
import { generateIdentity, type Identity } from "../../../src/client/crypto/identity.ts";
import { Invites } from "../../../src/contracts/invites.ts";
import { InviteStore } from "../../../src/contracts/store.ts";
import type { JetStream } from "../../../src/nats/jetstream.ts";
import { encodeFrame } from "../../../src/wire/frame.ts";
import { type InProcess, insertUser, serviceOf } from "../in-process.ts";
import {
  addBody,
  at,
  call,
  createBody,
  dial,
  freshSubject,
  newRoom,
  type OwnRoom,
  policy,
  type Reply,
} from "../peer.ts";
import { type CommandName, restoredIn, startsRevoked } from "./commands.ts";
import type { Pauses } from "./pauses.ts";

/** What all races of one bus share. */
export interface Stage {
  /** The nodes of the bus: one, or those of a cluster. */
  readonly nodes: readonly [InProcess, ...InProcess[]];
  readonly admin: Identity;
  readonly pauses: Pauses;
  /** JetStream, with the permissions of the bus itself. */
  readonly js: JetStream;
}

/** The outcome of a request: a status, and the code of a refusal. An acknowledged publish counts as 200. */
export interface Outcome {
  readonly status: number;
  readonly code: string;
}

/** A room that a command created, or tried to create. */
export interface Attempt {
  readonly room: OwnRoom;
  readonly outcome: Outcome;
}

/** The people and rooms of one race. */
export class Scene implements AsyncDisposable {
  /** The rooms that `create` made or failed to make, in the order of the answers. */
  readonly attempts: Attempt[] = [];
  /** What the member's connection has received on the room's subject. */
  readonly received: string[] = [];
  readonly #connections: NatsConnection[] = [];
  #live: NatsConnection | null = null;
  #owners: NatsConnection | null = null;

  private constructor(
    readonly stage: Stage,
    readonly pair: readonly [CommandName, CommandName],
    readonly owner: Identity,
    readonly member: Identity,
    readonly candidate: Identity,
    readonly newcomer: Identity,
    /** The room before the race, with owner and member. */
    readonly room: OwnRoom,
    readonly invite: { readonly id: string; readonly token: string },
    /** A subject that no room has. */
    readonly freeSubject: string,
  ) {}

  /**
   * Creates a scene. The member has accepted the room, unless the pair does so, has a durable if the pair removes one,
   * and a stored message if the pair erases it.
   */
  static async make(stage: Stage, pair: readonly [CommandName, CommandName]): Promise<Scene> {
    const [node] = stage.nodes;
    const [owner, member, candidate] = await Promise.all(["ona", "mel", "cam"].map((name) => insertUser(node, name)));
    if (owner === undefined || member === undefined || candidate === undefined) throw new Error("no people");
    const { invite, token } = await serviceOf(node, Invites).create({ handle: "nia", role: "member", ttlS: 3_600 });
    const made = newRoom(owner, freshSubject(), policy("encrypt", "persist", "sign_msgs"));
    const { body, room } = addBody(made, member);
    const newcomer = await generateIdentity();
    const people = [owner, member, candidate, newcomer] as const;
    const scene = new Scene(stage, pair, ...people, room, { id: invite.id, token }, freshSubject());
    await scene.#prepare(made, body);
    return scene;
  }

  async #prepare(made: OwnRoom, addition: unknown): Promise<void> {
    const { pair, owner, member, room } = this;
    await this.must(201, owner, "POST", "/rooms", createBody(made));
    await this.must(201, owner, "POST", at(room, "/members"), addition);
    if (!pair.includes("accept")) await this.must(204, member, "PUT", at(room, "/accept"));
    if (pair.includes("remove durable") && !pair.includes("accept"))
      await this.must(200, member, "PUT", at(room, "/durable"));
    if (pair.includes("erase")) await this.#store();
    this.#live = await this.dial(member);
    this.#live.subscribe(room.state.subject, {
      // Without permission for the subject, the subscription ends with an error and receives nothing.
      callback: (error, message) => void (error === null && this.received.push(message.string())),
    });
    await this.#live.flush();
    if (!startsRevoked(pair)) return;
    const { signPubHex } = restoredIn(this);
    await this.must(204, this.stage.admin, "POST", `/users/${signPubHex}/revoke`);
  }

  /** Stores a frame of the member. The owner publishes it, because the member may not have accepted the room. */
  async #store(): Promise<void> {
    const { subject: s } = this.room.state;
    const rest = { n: undefined, p: undefined, b: undefined, sig: undefined, thr: undefined, re: undefined };
    const frame = encodeFrame({ t: 0, s, from: this.member.endpoint, id: ulid(), e: 1, ...rest });
    const nats = await this.dial(this.owner);
    const { seq } = (await nats.request(s, frame, { timeout: 10_000 })).json<{ seq: number }>();
    if (seq !== 1) throw new Error(`the first message has sequence ${seq}`);
  }

  /** The member's connection, opened before the race. */
  get connection(): NatsConnection {
    if (this.#live === null) throw new Error("the scene is not ready");
    return this.#live;
  }

  /** Sends a signed request to a node. */
  call(who: Identity, method: string, target: string, body?: unknown, node = 0): Promise<Reply> {
    return call(this.url(node), who, method, target, body);
  }

  /** Returns the control plane URL of a node. */
  url(node = 0): string {
    return this.#node(node).bus.site.url();
  }

  /** Sends a request that must succeed. */
  async must(status: number, who: Identity, method: string, target: string, body?: unknown): Promise<Reply> {
    const reply = await this.call(who, method, target, body);
    if (reply.status !== status) throw new Error(`${method} ${target}: ${reply.status} ${reply.text}`);
    return reply;
  }

  /** Opens a connection to the data plane that ends with the scene. */
  async dial(who: Identity, node = 0): Promise<NatsConnection> {
    const connection = await dial(this.#node(node).server, who);
    this.#connections.push(connection);
    return connection;
  }

  /** A connection of the owner, who never leaves: the checks of a race share it. */
  async ownersConnection(): Promise<NatsConnection> {
    if (this.#owners === null || this.#owners.isClosed()) this.#owners = await this.dial(this.owner);
    return this.#owners;
  }

  #node(node: number): InProcess {
    return this.stage.nodes[node % this.stage.nodes.length] ?? this.stage.nodes[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A bus has at most 1,000 pending invites, and runs more scenes than that.
    await serviceOf(this.stage.nodes[0], InviteStore).deleteInvite(this.invite.id);
    await Promise.all(this.#connections.map((connection) => connection.close().catch(() => undefined)));
  }
}
