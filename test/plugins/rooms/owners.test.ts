/**
 * The rules of changing a room, above both stores: a room never loses its last owner, and a departure is neither
 * overlooked nor undone. Two nodes with one store each change the room; a test can let one of them change it just
 * before the other one's write. Source: docs/protocol/rooms.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateIdentity, type Identity } from "../../../src/client/crypto/identity.ts";
import { Notices } from "../../../src/contracts/notices.ts";
import type { Log } from "../../../src/contracts/plugin.ts";
import { changeStay, isOwnerIn, leaving, renamed } from "../../../src/contracts/stay-rules.ts";
import type { Membership, RoomStore, UserStore } from "../../../src/contracts/store.ts";
import { KeyedMutex } from "../../../src/lib/keyed-mutex.ts";
import { createRoom } from "../../../src/plugins/rooms/create.ts";
import { type AddMembersBody, addMembers } from "../../../src/plugins/rooms/members.ts";
import { type RoleBody, RoomMembership, type RotateBody } from "../../../src/plugins/rooms/membership.ts";
import { Newcomers } from "../../../src/plugins/rooms/newcomers.ts";
import { RoomQuotas } from "../../../src/plugins/rooms/quotas.ts";
import { openSqliteStore } from "../../../src/plugins/store-sqlite/store.ts";
import type { Statement } from "../../../src/wire/api.ts";
import { builtinNamespaces } from "../../../src/wire/names.ts";
import { upTo, winners } from "../../conformance/store-samples.ts";
import {
  addBody,
  createBody,
  freshSubject,
  kickBody,
  newRoom,
  type OwnRoom,
  policy,
  roleBody,
} from "../../support/peer.ts";
import { KvServer } from "../store-kv/server.ts";
import { withFile } from "../store-sqlite/folder.ts";

interface Stores {
  readonly rooms: RoomStore;
  readonly users: UserStore;
}

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };
const quotas = { rowsPerOwner: 100_000_000, statementsPerMinute: 0 };

/** The rules of rooms over one store, as one node runs them. */
class Node {
  readonly rooms: RoomStore;
  readonly life: RoomMembership;
  readonly #rules: Parameters<typeof createRoom>[2] & { readonly users: UserStore };
  /** Runs once, just before this node's next write of a change. */
  beforeWrite: (() => Promise<unknown>) | null = null;

  constructor({ rooms, users }: Stores) {
    this.rooms = rooms;
    const meanwhile = async () => {
      const first = this.beforeWrite;
      this.beforeWrite = null;
      await first?.();
    };
    const store: RoomStore = {
      ...rooms,
      applyChange: async (change) => meanwhile().then(() => rooms.applyChange(change)),
      replaceStay: async (roomId, change) => meanwhile().then(() => rooms.replaceStay(roomId, change)),
    };
    const notices = new Notices(undefined);
    const { signal } = new AbortController();
    const parts = { store, streams: undefined, places: new KeyedMutex(), now: Date.now };
    const own = { ...parts, quotas: new RoomQuotas(store, quotas, Date.now) };
    this.life = new RoomMembership({ ...own, notices, denials: undefined, reserve: undefined });
    this.#rules = {
      ...own,
      ...{
        users,
        namespaces: builtinNamespaces,
        adminNamespaces: new Set(),
        perUserMax: 1_000,
        allowUnencrypted: true,
      },
      newcomers: new Newcomers({ store: rooms, users, notices, log: silent, now: Date.now, signal }),
    };
  }

  create(room: OwnRoom): Promise<unknown> {
    const { signPubHex: signPub, endpoint, kexPubHex: kexPub, kexSig } = room.owner;
    const caller = { signPub, endpoint, kexPub, kexSig, handle: "owner", role: "member" as const };
    return createRoom(createBody(room) as { statement: Statement }, caller, this.#rules);
  }

  async member({ state }: OwnRoom, who: Identity): Promise<Membership> {
    const [room, stay] = [await this.rooms.getRoom(state.roomId), await this.rooms.getStay(state.roomId, who.endpoint)];
    if (room === null || stay === null) throw new Error("no member");
    return { room, stay };
  }

  /** Adds members, in the name of the room's owner. */
  async add(room: OwnRoom, ...who: readonly Identity[]): Promise<OwnRoom> {
    const { body, room: next } = addBody(room, ...who);
    await addMembers(await this.member(room, room.owner), body as AddMembersBody, this.#rules);
    return next;
  }

  /** Changes a member's role, in the name of the room's owner. */
  async setRole(room: OwnRoom, who: Identity, role: "owner" | "member"): Promise<OwnRoom> {
    const { body, room: next } = roleBody(room, who, role);
    await this.life.setRole(await this.member(room, room.owner), body as unknown as RoleBody, who.endpoint);
    return next;
  }

  async leave(room: OwnRoom, who: Identity): Promise<void> {
    await this.life.leave(await this.member(room, who));
  }

  /** Marks a user as having left, as a revocation does. */
  revoke({ state: { roomId } }: OwnRoom, { endpoint }: Identity): Promise<unknown> {
    return changeStay(this.rooms, { roomId, endpoint }, leaving(1));
  }

  async owners({ state }: OwnRoom): Promise<string[]> {
    return (await this.rooms.listStays(state.roomId)).filter(isOwnerIn).map(({ endpoint }) => endpoint);
  }
}

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "done",
    (error: { code?: string }) => error.code ?? String(error),
  );

let server: KvServer;
let ana: Identity;
let bo: Identity;
let cleo: Identity;
beforeAll(async () => {
  server = await KvServer.start(16);
  [ana, bo, cleo] = [await generateIdentity(), await generateIdentity(), await generateIdentity()];
});
afterAll(() => server[Symbol.asyncDispose]());

async function onKv(work: (nodes: readonly [Node, Node]) => Promise<void>): Promise<void> {
  const account = server.freshAccount();
  const [one, other] = [await server.store(account), await server.store(account)];
  await addUsers(one.users);
  await work([new Node(one), new Node(other)]);
}

function onSqlite(work: (nodes: readonly [Node, Node]) => Promise<void>): Promise<void> {
  return withFile(async (file) => {
    const stores = [openSqliteStore({ file, now: Date.now }), openSqliteStore({ file, now: Date.now })] as const;
    try {
      await addUsers(stores[0].users);
      await work([new Node(stores[0]), new Node(stores[1])]);
    } finally {
      for (const store of stores) store.close();
    }
  });
}

async function addUsers(users: UserStore): Promise<void> {
  for (const [handle, { signPubHex, endpoint, kexPubHex, kexSig }] of Object.entries({ ana, bo, cleo })) {
    await users.insertUser({
      ...{ signPub: signPubHex, endpoint, kexPub: kexPubHex, kexSig, handle, role: "member", status: "active" },
      ...{ createdAt: 1, revokedAt: null, revision: 0 },
    });
  }
}

/** Ana's room with bo and cleo in it; those of `owners` own it, too. */
async function roomOf(node: Node, ...owners: readonly Identity[]): Promise<OwnRoom> {
  let room = newRoom(ana, freshSubject(), policy());
  await node.create(room);
  room = await node.add(room, bo, cleo);
  for (const owner of owners) room = await node.setRole(room, owner, "owner");
  return room;
}

for (const [name, on] of Object.entries({ sqlite: onSqlite, kv: onKv })) {
  const onBoth = (work: (nodes: readonly [Node, Node]) => Promise<void>) => () => on(work);

  describe(`rooms over ${name}`, () => {
    test(
      "of owners who leave at once on two nodes one stays",
      onBoth(async ([one, other]) => {
        const room = await roomOf(one, bo, cleo);
        const left = [ana, bo, cleo].map((who, n) => (n % 2 === 0 ? one : other).leave(room, who).then(() => true));
        expect(await winners(left)).toHaveLength(2);
        expect(await one.owners(room)).toHaveLength(1);
      }),
    );

    test(
      "an owner who leaves while the only other one leaves on another node stays",
      onBoth(async ([one, other]) => {
        const room = await roomOf(one, bo);
        one.beforeWrite = () => other.leave(room, bo);
        expect(await codeOf(one.leave(room, ana))).toBe("conflict");
        expect(await other.owners(room)).toEqual([ana.endpoint]);
      }),
    );

    test(
      "an owner who is made a member while the only other one leaves stays an owner, and the other way round",
      onBoth(async ([one, other]) => {
        const room = await roomOf(one, bo);
        one.beforeWrite = () => other.leave(room, bo);
        expect(await codeOf(one.setRole(room, ana, "member"))).toBe("conflict");
        expect(await other.owners(room)).toEqual([ana.endpoint]);

        const second = await roomOf(one, bo);
        one.beforeWrite = () => other.setRole(second, bo, "member");
        expect(await codeOf(one.leave(second, ana))).toBe("conflict");
        expect(await other.owners(second)).toEqual([ana.endpoint]);
      }),
    );

    test(
      "of an owner who leaves and another who is made a member at once one stays",
      onBoth(async ([one, other]) => {
        for (const n of upTo(8)) {
          const room = await roomOf(one, bo);
          const [leaver, maker] = n % 2 === 0 ? [one, other] : [other, one];
          const ends = [leaver.leave(room, ana).then(() => true), maker.setRole(room, bo, "member")];
          const won = await Promise.allSettled(ends);
          expect(won.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
          expect(await one.owners(room)).toHaveLength(1);
        }
      }),
    );

    test(
      "an owner who is revoked while they change a room changes nothing, even as its last owner",
      onBoth(async ([one, other]) => {
        const work: Readonly<Record<string, (room: OwnRoom) => Promise<unknown>>> = {
          role: (own) => one.setRole(own, bo, "owner"),
          rekey: async (own) =>
            one.life.rotate(
              await one.member(own, ana),
              kickBody(own, [], [ana, bo, cleo]).body as unknown as RotateBody,
              null,
            ),
        };
        for (const [what, change] of Object.entries(work)) {
          const own = await roomOf(one);
          one.beforeWrite = () => other.revoke(own, ana);
          expect([what, await codeOf(change(own))]).toEqual([what, "forbidden"]);
          expect((await one.rooms.getRoom(own.state.roomId))?.version).toBe(own.state.version);
          expect(await one.owners(own)).toEqual([]);
        }
        const alone = newRoom(ana, freshSubject(), policy());
        await one.create(alone);
        one.beforeWrite = () => other.revoke(alone, ana);
        expect(await codeOf(one.add(alone, bo))).toBe("forbidden");
        expect(await one.rooms.listStays(alone.state.roomId)).toHaveLength(1);
      }),
    );

    test(
      "a statement that a departure comes before is stored all the same, and does not undo the departure",
      onBoth(async ([one, other]) => {
        const room = await roomOf(one);
        one.beforeWrite = () => other.leave(room, bo);
        const promoted = await one.setRole(room, cleo, "owner");
        expect(await one.rooms.getRoom(room.state.roomId)).toMatchObject({
          version: promoted.state.version,
          rekeyPending: true,
        });
        expect((await one.rooms.getStay(room.state.roomId, bo.endpoint))?.leftAt).not.toBeNull();
        expect((await one.owners(room)).sort()).toEqual([ana.endpoint, cleo.endpoint].sort());
      }),
    );

    test(
      "a statement that another one comes before is refused",
      onBoth(async ([one, other]) => {
        const room = await roomOf(one);
        one.beforeWrite = () => other.setRole(room, cleo, "owner");
        expect(await codeOf(one.setRole(room, bo, "owner"))).toBe("conflict");
        expect((await one.owners(room)).sort()).toEqual([ana.endpoint, cleo.endpoint].sort());
      }),
    );

    test(
      "a member who is renamed while their role changes keeps the new name",
      onBoth(async ([one, other]) => {
        const room = await roomOf(one);
        const { roomId } = room.state;
        one.beforeWrite = () => changeStay(other.rooms, { roomId, endpoint: bo.endpoint }, renamed("robert"));
        await one.setRole(room, bo, "owner");
        expect(await one.rooms.getStay(roomId, bo.endpoint)).toMatchObject({ handle: "robert", role: "owner" });
      }),
    );

    test(
      "a member who leaves while they are made an owner is out",
      onBoth(async ([one, other]) => {
        const room = await roomOf(one);
        one.beforeWrite = () => other.leave(room, bo);
        expect(await codeOf(one.setRole(room, bo, "owner"))).toBe("not_found");
        expect(await one.owners(room)).toEqual([ana.endpoint]);
        const second = await roomOf(one);
        one.beforeWrite = () => other.setRole(second, bo, "owner");
        await one.leave(second, bo);
        expect(await one.owners(second)).toEqual([ana.endpoint]);
        expect((await one.rooms.getStay(second.state.roomId, bo.endpoint))?.leftAt).not.toBeNull();
      }),
    );
  });
}
