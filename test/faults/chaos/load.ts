/**
 * The clients of a chaos run. Each method is one actor that runs until the run is over: writers, readers, owners who
 * kick, admins who revoke, probers who check that removed users stay out, and racers for invites and subjects. They
 * record in the scene what the bus acknowledged, for the checker. Used by run.ts.
 */
import type { NatsConnection } from "nats";
import { generateIdentity, type Identity } from "../../../src/client/crypto/identity.ts";
import { type Bus, connect } from "../../../src/client/index.ts";
import { register } from "../../support/accounts.ts";
import { addBody, at, createBody, freshSubject, kickBody, newRoom, type OwnRoom, policy } from "../../support/peer.ts";
import { loginOf, RawNats } from "../../support/raw-nats.ts";
import { nodesCount } from "./nodes.ts";
import { oneOf } from "./random.ts";
import { clockMs, type Way } from "./record.ts";
import { published, type Scene } from "./scene.ts";

const ackTimeoutMs = 5_000;
const ghostAckTimeoutMs = 1_000;
/** How many clients redeem one invite, or claim one subject, at once. */
const racers = { invite: 6, subject: 3 } as const;
/** How many of the most recently removed users are checked most often. */
const recentRemovals = 20;
/** How long a kicked user keeps publishing, in milliseconds. */
const ghostMs = 6_000;

/** A removed user, and from where: a room, or the bus. */
interface Removed {
  readonly who: Identity;
  readonly room: OwnRoom | null;
}

/** A room with its people, as its owner knows them. */
export interface Party {
  room: OwnRoom;
  readonly owner: Identity;
  readonly members: Identity[];
}

/** A contested subject, and the rooms that claim it. */
export interface Claims {
  readonly subject: string;
  readonly rooms: readonly OwnRoom[];
}

/** All clients that generate load. */
export class Load {
  readonly parties: Party[] = [];
  readonly claims: Claims[] = [];
  readonly #removed: Removed[] = [];
  #made = 0;

  constructor(readonly scene: Scene) {}

  /** Creates a user; null if the run ends first. */
  async #user(prefix: string): Promise<Identity | null> {
    const user = await generateIdentity();
    const { signPubHex, kexPubHex, kexSig } = user;
    const handle = `${prefix}-${++this.#made}`;
    const body = { sign_pub: signPubHex, handle, role: "member", kex_pub: kexPubHex, kex_sig: kexSig };
    // A conflict means that the user was created and the answer was lost.
    const made = await this.scene.askUntil([201, 409], this.scene.admin, "POST", "/users", body);
    return made === null ? null : user;
  }

  /** Creates a persisted room with permanent members. */
  async party(members: number): Promise<Party> {
    const made = await Promise.all(Array.from({ length: members + 1 }, () => this.#user("guest")));
    const [owner, ...others] = made.flatMap((user) => user ?? []);
    if (owner === undefined) throw new Error("no user was created for the party");
    const room = newRoom(owner, freshSubject(), policy("persist", "encrypt"));
    await this.scene.askUntil([201], owner, "POST", "/rooms", createBody(room));
    const party: Party = { room, owner, members: [] };
    for (const other of others) await this.#add(party, other);
    this.parties.push(party);
    return party;
  }

  /** Reports whether a change of a room took effect when its answer is inconclusive; null if the run ends first. */
  async #isMade(party: Party, next: OwnRoom): Promise<boolean | null> {
    const reply = await this.scene.askUntil([200], party.owner, "GET", at(next));
    return reply === null ? null : (reply.json.version as number) >= next.state.version;
  }

  /** Retries a change of a room until it takes effect; false if the run ends first. */
  async #change(party: Party, make: () => readonly [string, string, unknown, OwnRoom]): Promise<boolean> {
    const { scene } = this;
    // Sends the same statement each time: an attempt that timed out may still take effect, and then it is the room's
    // state.
    const [method, target, body, next] = make();
    for (;;) {
      const reply = await scene.ask(scene.anyNode(), party.owner, method, target, body);
      const isMade = reply !== null && reply.status < 300 ? true : await this.#isMade(party, next);
      if (isMade === null) return false;
      if (!isMade) continue;
      party.room = next;
      scene.note({ kind: "change", room: next.state.roomId, version: next.state.version });
      return true;
    }
  }

  async #add(party: Party, member: Identity): Promise<boolean> {
    const isIn = await this.#change(party, () => {
      const { body, room } = addBody(party.room, member);
      return ["POST", at(party.room, "/members"), body, room];
    });
    if (isIn) party.members.push(member);
    return isIn;
  }

  async #kick(party: Party, member: Identity): Promise<boolean> {
    const staying = party.members.filter((one) => one !== member);
    const isOut = await this.#change(party, () => {
      const { body, room } = kickBody(party.room, [member], [party.owner, ...staying]);
      return ["DELETE", at(party.room, `/members/${member.endpoint}`), body, room];
    });
    if (isOut) {
      party.members.splice(party.members.indexOf(member), 1);
      this.#goes(member, party.room);
    }
    return isOut;
  }

  #goes(who: Identity, room: OwnRoom | null): void {
    this.scene.note({ kind: "removed", who: who.endpoint, room: room?.state.roomId ?? null });
    this.#removed.push({ who, room });
  }

  /** A member who publishes one frame after the other; each is acknowledged or given up. */
  async writer(party: Party, name: string): Promise<void> {
    const { scene } = this;
    const speaker = party.members[0] ?? party.owner;
    for (let said = 0; !scene.isOver; ) {
      const connection = await scene.dial(scene.anyNode(), speaker);
      while (connection !== null && !connection.isClosed() && !scene.isOver) {
        const text = `${name}-${++said}`;
        const seq = await published(connection, party.room.state.subject, text, ackTimeoutMs);
        if (seq === null) break;
        scene.note({ kind: "frame", room: party.room.state.roomId, text, seq });
        await scene.rest();
      }
      await connection?.close().catch(() => undefined);
      await scene.rest();
    }
  }

  /** The same through the real client, which fails over between nodes by itself. */
  async client(party: Party): Promise<void> {
    const { scene } = this;
    const identity = party.members[1] ?? party.owner;
    let bus: Bus | null = null;
    while (bus === null && !scene.isOver) {
      bus = await connect({ urls: scene.nodes.urls, identity, state: "memory" }).catch(() => null);
    }
    const room = await bus?.room(party.room.state.roomId);
    while (room !== undefined && !scene.isOver) {
      try {
        const { id, seq } = await room.send("hello", { timeoutMs: ackTimeoutMs });
        if (seq !== null) scene.note({ kind: "frame", room: room.id, text: id, seq });
      } catch {
        // It was not acknowledged, so nothing depends on it.
      }
      await scene.rest();
    }
    await bus?.close();
  }

  /** Reads a room as a member, at one node. */
  async reader(party: Party, node: number, everyMs: number): Promise<void> {
    const { scene } = this;
    while (!scene.isOver) {
      const began = clockMs();
      const reply = await scene.ask(node, party.owner, "GET", at(party.room));
      if (reply?.status === 200) {
        const { version, epoch } = reply.json as { version: number; epoch: number };
        scene.note({ kind: "read", began, node, room: party.room.state.roomId, version, epoch });
      }
      await scene.rest(everyMs);
    }
  }

  /** An owner who adds a user and kicks them, while the kicked user publishes for as long as possible. */
  async owner(party: Party): Promise<void> {
    while (!this.scene.isOver) {
      const guest = await this.#user("victim");
      if (guest === null || !(await this.#add(party, guest))) return;
      const connection = await this.scene.dial(this.scene.anyNode(), guest);
      const isOut = await this.#kick(party, guest);
      if (connection !== null) void this.#haunt(guest, party.room, connection, isOut);
      await this.scene.rest();
    }
  }

  async #haunt(who: Identity, room: OwnRoom, connection: NatsConnection, isOut: boolean): Promise<void> {
    const node = this.#nodeOf(connection.getServer());
    for (const end = clockMs() + ghostMs; isOut && clockMs() < end && !connection.isClosed(); ) {
      const began = clockMs();
      const seq = await published(connection, room.state.subject, "boo", ghostAckTimeoutMs);
      // A publish that is denied gets no answer.
      this.#checked({ node, began, who, room, way: "publish", isAdmitted: seq === null ? null : true });
      await this.scene.rest(100);
    }
    await connection.close().catch(() => undefined);
  }

  #nodeOf(server: string): number {
    return Array.from({ length: nodesCount }, (_, index) => index).findIndex((index) =>
      this.scene.nodes.nats(index).endsWith(server),
    );
  }

  #checked(check: {
    readonly node: number;
    readonly began: number;
    readonly who: Identity;
    readonly room: OwnRoom | null;
    readonly way: Way;
    /** Null if there was no answer. */
    readonly isAdmitted: boolean | null;
  }): void {
    const { node, began, way, isAdmitted } = check;
    const outcome = isAdmitted === null ? "unanswered" : isAdmitted ? "admitted" : "denied";
    const [who, room] = [check.who.endpoint, check.room?.state.roomId ?? null];
    this.scene.note({ kind: "check", node, began, who, room, way, outcome });
  }

  /** An admin who creates users and revokes them. */
  async revoker(): Promise<void> {
    const { scene } = this;
    while (!scene.isOver) {
      const user = await this.#user("mayfly");
      if (user === null) return;
      const target = `/users/${user.signPubHex}/revoke`;
      if ((await scene.askUntil([204], scene.admin, "POST", target)) !== null) this.#goes(user, null);
      await scene.rest();
    }
  }

  /** Checks over HTTP at a node, in a loop, whether removed users are admitted. */
  async prober(node: number, everyMs: number): Promise<void> {
    while (!this.scene.isOver) {
      const removed = this.#someRemoved();
      if (removed === null) await this.scene.rest();
      else await this.#probe(removed, node);
      if (everyMs > 0) await this.scene.rest(everyMs);
    }
  }

  #someRemoved(): Removed | null {
    if (this.#removed.length === 0) return null;
    return oneOf(Math.random() < 0.7 ? this.#removed.slice(-recentRemovals) : this.#removed);
  }

  async #probe({ who, room }: Removed, node: number): Promise<void> {
    const began = clockMs();
    const parts = ["", "/members", "/history?limit=1", "/statements", "/key"];
    const target = room === null ? "/directory" : at(room, oneOf(parts));
    const reply = await this.scene.ask(node, who, "GET", target);
    this.#checked({ node, began, who, room, way: "http", isAdmitted: reply && reply.status < 300 });
    if (reply === null) await this.scene.rest();
  }

  /** The same by a NATS login: a revoked user must not log in, a kicked user must not get the room. */
  async knocker(node: number): Promise<void> {
    while (!this.scene.isOver) {
      const removed = this.#someRemoved();
      if (removed !== null) await this.#knock(removed, node);
      await this.scene.rest();
    }
  }

  async #knock({ who, room }: Removed, node: number): Promise<void> {
    const began = clockMs();
    const knocked = (async () => {
      using raw = await RawNats.open(this.scene.nodes.nats(node));
      if (raw.isClosed) return null;
      const refusal = await raw.login(loginOf(who, raw, { host: new URL(this.scene.nodes.nats(node)).hostname }));
      if (refusal !== "") return refusal === "hung up" ? null : false;
      if (room === null) return true;
      const answer = await raw.exchange(`SUB ${room.state.subject} 1\r\n`);
      // A connection that closes, as that of a killed node does, is not an answer.
      return answer.includes("PONG") ? !answer.includes("Permissions Violation") : null;
    })().catch(() => null);
    const isAdmitted = await Promise.race([knocked, Bun.sleep(ackTimeoutMs * 2).then(() => null)]);
    this.#checked({ node, began, who, room, way: "login", isAdmitted });
  }

  /** An admin whose invites several clients redeem at once. A client without an answer retries. */
  async inviter(): Promise<void> {
    const { scene } = this;
    while (!scene.isOver) {
      const handle = `invited-${++this.#made}`;
      const made = await scene.askUntil([201], scene.admin, "POST", "/invites", { handle });
      if (made === null) return;
      const crowd = await Promise.all(Array.from({ length: racers.invite }, () => generateIdentity()));
      const redeem = async (who: Identity): Promise<void> => {
        for (let status = 0; status !== 201 && status !== 409 && !scene.isOver; ) {
          const reply = register(scene.nodes.url(scene.anyNode()), String(made.json.token), who).catch(() => null);
          status = (await Promise.race([reply, Bun.sleep(ackTimeoutMs).then(() => null)]))?.status ?? 0;
          if (status === 201) scene.note({ kind: "redeemed", handle, who: who.signPubHex });
          if (status !== 201) await scene.rest();
        }
      };
      await Promise.all(crowd.map(redeem));
      await scene.rest(100);
    }
  }

  /** Several clients that claim one subject at once, each at its own node. */
  async claimers(): Promise<void> {
    const { scene } = this;
    const made = await Promise.all(Array.from({ length: racers.subject }, () => this.#user("claimer")));
    const crowd = made.flatMap((user) => user ?? []);
    while (!scene.isOver) {
      const subject = freshSubject();
      const rooms = crowd.map((owner) => newRoom(owner, subject, policy()));
      this.claims.push({ subject, rooms });
      const claim = async (room: OwnRoom, node: number): Promise<void> => {
        const reply = await scene.ask(node, room.owner, "POST", "/rooms", createBody(room));
        if (reply?.status === 201) scene.note({ kind: "claimed", subject, room: room.state.roomId });
      };
      await Promise.all(rooms.map((room, index) => claim(room, index % nodesCount)));
      await scene.rest(100);
    }
  }
}
