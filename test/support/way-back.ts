/**
 * Rooms as their owners signed them, version by version, for tests of restoring rooms to a bus that lost some versions
 * (the "way back"). A `Story` builds a chain of statements without any bus; `bring` sends it with PUT
 * /rooms/{id}/restore. Used by restore.test.ts in test/attacks and test/plugins/rooms, by older-chain.test.ts and by
 * kept-room.test.ts.
 */
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { newRoomKey } from "../../src/client/crypto/keys.ts";
import { Users } from "../../src/contracts/users.ts";
import { WayBackStore } from "../../src/contracts/way-back.ts";
import type { Restore } from "../../src/wire/api.ts";
import {
  keyCheck,
  type MemberLine,
  nextState,
  type Policy,
  type RoomState,
  type StateChange,
  zeroHash,
} from "../../src/wire/statement.ts";
import type { InProcess } from "./in-process.ts";
import { sealNow } from "./keys-now.ts";
import { call, freshSubject, newRoom, policy, type Reply, statementOf } from "./peer.ts";

const dayMs = 86_400_000;

/** Opens the way back of a bus: from now on the current head of each room counts as its restored one. */
export async function openWayBack({ bus }: InProcess, forMs = 30 * dayMs): Promise<void> {
  const now = Date.now();
  await bus.service(WayBackStore)?.openWayBack({ openedAt: now, closesAt: now + forMs });
}

/** Creates users, and an admin, on a bus in this process, whichever store it uses. */
export async function usersOf<N extends string>(
  { bus }: InProcess,
  ...names: readonly N[]
): Promise<Record<N | "admin", Identity>> {
  const made = [...names, "admin" as const].map(async (handle) => {
    const identity = await generateIdentity();
    const { signPubHex: signPub, kexPubHex: kexPub, kexSig } = identity;
    const role = handle === "admin" ? "admin" : "member";
    await bus.service(Users)?.add({ signPub, kexPub, kexSig, handle, role });
    return [handle, identity] as const;
  });
  return Object.fromEntries(await Promise.all(made)) as Record<N | "admin", Identity>;
}

type Version = { readonly state: RoomState; readonly statement: { text: string; by: string; sig: string } };

/** The history of a room, independent of any bus. */
export class Story {
  readonly versions: Version[];
  readonly keys: Map<number, Uint8Array>;
  readonly people: Map<string, Identity>;

  private constructor(versions: Version[], keys: Map<number, Uint8Array>, people: Map<string, Identity>) {
    this.versions = versions;
    this.keys = keys;
    this.people = people;
  }

  /** Creates a room at version 1. */
  static of(owner: Identity, rules: Policy = policy("encrypt"), subject = freshSubject(), id?: string): Story {
    const { state, key } = newRoom(owner, subject, rules, id);
    const keys = new Map(key === null ? [] : [[1, key]]);
    return new Story([{ state, statement: statementOf(state, owner) }], keys, new Map([[owner.endpoint, owner]]));
  }

  /** Returns the room as it was at a version, to continue it differently. */
  at(version: number): Story {
    const versions = this.versions.slice(0, version);
    const epoch = versions.at(-1)?.state.epoch ?? 0;
    const keys = new Map([...this.keys].filter(([one]) => one <= epoch));
    return new Story(versions, keys, new Map(this.people));
  }

  get state(): RoomState {
    return this.versions.at(-1)?.state as RoomState;
  }

  get version(): number {
    return this.versions.length;
  }

  get id(): string {
    return this.state.roomId;
  }

  /** Returns the statement of a version. */
  statement(version: number): Version["statement"] {
    return this.versions[version - 1]?.statement as Version["statement"];
  }

  /** Appends a change that an owner signs; `alter` changes the state before it is signed. */
  next(by: Identity, change: StateChange, alter: (state: RoomState) => RoomState = (state) => state): this {
    const state = alter(nextState(this.state, change));
    this.versions.push({ state, statement: statementOf(state, by) });
    return this;
  }

  add(by: Identity, ...members: readonly Identity[]): this {
    for (const member of members) this.people.set(member.endpoint, member);
    const lines = members.map(({ endpoint, signPubHex: sign_pub, kexPubHex: kex_pub }) => {
      return { endpoint, sign_pub, kex_pub };
    });
    return this.next(by, { kind: "add", members: lines });
  }

  rekey(by: Identity, ...gone: readonly Identity[]): this {
    const epoch = this.state.epoch + 1;
    const key = newRoomKey();
    if (this.state.policy.encrypt) this.keys.set(epoch, key);
    const check = this.state.policy.encrypt ? keyCheck(this.id, epoch, key) : zeroHash;
    const away = new Set(gone.map(({ endpoint }) => endpoint));
    return this.next(by, { kind: "rotate", gone: away, keyCheck: check });
  }

  role(by: Identity, { endpoint }: Identity, role: MemberLine["role"]): this {
    return this.next(by, { kind: "role", endpoint, role });
  }

  /** Returns every member line of a version, as GET members would. */
  members(version = this.version): Restore["members"] {
    const lines = this.versions[version - 1]?.state.lines ?? [];
    return lines.map((line) => {
      const kex_sig = this.people.get(line.endpoint)?.kexSig ?? "";
      return { ...line, kex_sig, left: false, handle: `h-${line.endpoint.slice(0, 6)}` };
    });
  }

  /** Returns the room key of an epoch, sealed to a member. */
  sealed(endpoint: string, epoch: number): Restore["keys"][number] {
    const to = this.people.get(endpoint);
    const key = this.keys.get(epoch);
    if (to === undefined || key === undefined) throw new Error(`no key of epoch ${epoch} for ${endpoint}`);
    return { endpoint, epoch, sealed_key: sealNow(key, to.kexPub) };
  }

  /** Builds the request to a bus that has the room at version `bus`, or does not know it (0). */
  body(caller: Identity, bus: number, to = this.version): Restore {
    const { lines, epoch } = this.at(to).state;
    const own = bus === 0 ? null : this.at(bus).state;
    const endOf = ({ until }: MemberLine) => (until === 0 ? epoch : until - 1);
    const mine = lines.filter(({ endpoint }) => endpoint === caller.endpoint);
    const keys: Restore["keys"] = [];
    for (const line of this.keys.size === 0 ? [] : lines) {
      const isKnown = own?.lines.some(({ endpoint, since }) => endpoint === line.endpoint && since === line.since);
      for (let at = line.since; at <= endOf(line); at++) {
        const isHeld = isKnown === true && at <= (own?.epoch ?? 0);
        const isMine = mine.some((span) => span.since <= at && at <= endOf(span));
        if (!isHeld && isMine) keys.push(this.sealed(line.endpoint, at));
      }
    }
    const statements = this.versions.slice(bus, to).map(({ statement }) => statement);
    return { statements, members: this.members(to), keys };
  }
}

/** Sends a restoration. */
export function restore({ server }: InProcess, caller: Identity, roomId: string, body: unknown): Promise<Reply> {
  return call(server.ready.http, caller, "PUT", `/rooms/${roomId}/restore`, body);
}

/** Restores a room to a version on a bus that has an older one, or none. Throws unless the answer is 200. */
export async function bring(running: InProcess, caller: Identity, story: Story, bus: number, to = story.version) {
  const reply = await restore(running, caller, story.id, story.body(caller, bus, to));
  if (reply.status !== 200) throw new Error(`PUT restore: ${reply.status} ${reply.text}`);
  return reply.json;
}
