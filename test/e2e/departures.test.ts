/**
 * Members that leave or return, and the keys that they hold: an owner's client settles a departure (signs it out in a
 * new epoch) as soon as it is online, and before it sends. A returning member cannot read what was sent in between.
 * Source: docs/protocol/rooms.md, docs/protocol/logins.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { Bus, type BusEvents, type ClientState, type ConnectOptions, MemoryState } from "../../src/client/index.ts";
import { decodeFrame, isDropped } from "../../src/wire/frame.ts";
import { CliPeer } from "../support/cli-peer.ts";
import { Server, until } from "../support/executable.ts";
import { HostileNats } from "../support/hostile-nats.ts";
import {
  addMembers,
  addUser,
  call,
  createRoom,
  freshSubject,
  inviteMembers,
  kick,
  leave,
  type OwnRoom,
  policy,
  postUser,
} from "../support/peer.ts";
import { trustingPeer } from "../support/trusting-peer.ts";

let server: Server;
let admin: Identity;
const matrix = policy("encrypt", "persist", "sign_msgs");

beforeAll(async () => {
  server = await Server.start({ proxied: true, args: ["--set", "http.rate=100000"] });
  admin = await addUser(server, "root", { admin: true });
});
afterAll(() => server[Symbol.asyncDispose]());

const user = (handle: string) => postUser(server, admin, handle);

/** A client, with what it reports. */
async function client(identity: Identity, options: Partial<ConnectOptions> = {}) {
  const state: ClientState = options.state ?? new MemoryState();
  const bus = await Bus.connect({ urls: [server.ready.http], identity, state, ...options });
  const pending: BusEvents["rekeyPending"][] = [];
  const trouble: unknown[] = [];
  bus.on("rekeyPending", (one) => pending.push(one));
  bus.on("trouble", (error) => trouble.push(error));
  return { bus, state, pending, trouble, [Symbol.asyncDispose]: () => bus.close() };
}

/** The room as the server shows it to its owner. */
async function viewOf({ owner, state }: OwnRoom) {
  const { json } = await call(server.ready.http, owner, "GET", `/rooms/${state.roomId}`);
  const { version, epoch, rekey_pending: pending } = json as { version: number; epoch: number; rekey_pending: boolean };
  return { version, epoch, pending };
}

const isSettled = (room: OwnRoom) => async () => !(await viewOf(room)).pending;

/** A room of ana with members, some of which left while none of her clients was online. */
async function abandoned(members: number, left: number, rules = matrix) {
  const ana = await user("ana");
  const others = await Promise.all(Array.from({ length: members }, (_, i) => user(`m${i}`)));
  const room = await addMembers(server, await createRoom(server, ana, rules), ...others);
  for (const one of others.slice(0, left)) await leave(server, room, one);
  return { ana, others, room };
}

/** The epochs of the messages stored in a room. */
async function epochsOf(room: OwnRoom): Promise<number[]> {
  const { json } = await call(server.ready.http, room.owner, "GET", `/rooms/${room.state.roomId}/history`);
  return (json as { messages: string[] }).messages.map((text) => {
    const frame = decodeFrame(Buffer.from(text, "base64"));
    if (isDropped(frame)) throw new Error(frame.drop);
    return frame.e;
  });
}

describe("a departure while no owner is online is settled", () => {
  test("when an owner's client connects, all departures in one statement", async () => {
    const { ana, room } = await abandoned(4, 3);
    const before = await viewOf(room);
    expect(before.pending).toBe(true);
    await using _ = await client(ana);
    await until("it is settled", isSettled(room));
    expect(await viewOf(room)).toEqual({ version: before.version + 1, epoch: before.epoch + 1, pending: false });
  });

  test("when an owner's client reconnects", async () => {
    await using way = await HostileNats.start(server);
    const { ana, others, room } = await abandoned(2, 0);
    await using mine = await client(ana, { urls: [way.url] });
    const { version } = await viewOf(room);
    // The reconnect fails until the client can read its rooms, so it receives no notices.
    const isAway = new Promise<void>((resolve) =>
      mine.bus.on("status", (is) => is.state === "reconnecting" && resolve()),
    );
    way.http.pretend(() => ({ status: 503, headers: {}, body: Buffer.from("{}") }));
    way.proxy.cutAll();
    await isAway;
    await leave(server, room, others[0] as Identity);
    way.http.honest();
    await until("it is settled", isSettled(room));
    expect((await viewOf(room)).version).toBe(version + 1);
    expect(mine.pending).toEqual([]);
  });

  test("when an owner opens the room for the first time", async () => {
    const { ana, room } = await abandoned(2, 1);
    await using mine = await client(ana, { lazy: true });
    await mine.bus.room(room.state.roomId);
    await until("it is settled", isSettled(room));
  });

  test("before anything is sealed: a message, a request and a blob use the new key", async () => {
    for (const seal of ["send", "blob", "request"] as const) {
      const { ana, others, room } = await abandoned(2, 0);
      await using mine = await client(ana, { lazy: true });
      const opened = await mine.bus.room(room.state.roomId);
      // The client has read the room already and gets no notice of the leave.
      await leave(server, room, others[0] as Identity);
      if (seal === "send") expect(await opened.send("new key")).toMatchObject({ rekeyPending: false });
      if (seal === "request") await expect(opened.request("anybody?", { timeoutMs: 300 })).rejects.toThrow();
      if (seal === "blob") {
        const blob = await opened.putBlob(new Uint8Array(3));
        expect(blob.epoch).toBe(2);
        await opened.send("with it", { blob });
      }
      expect([seal, await viewOf(room)]).toMatchObject([seal, { epoch: 2, pending: false }]);
      if (seal !== "request") expect(await epochsOf(room)).toEqual([2]);
      expect(mine.pending).toEqual([]);
    }
  });

  test("at most once a minute: a later departure is reported, and does not block a send", async () => {
    const { ana, others, room } = await abandoned(4, 1);
    await using mine = await client(ana);
    await until("it is settled", isSettled(room));
    const opened = await mine.bus.room(room.state.roomId);
    for (const [i, one] of others.slice(1, 3).entries()) {
      await leave(server, room, one);
      await until("the departure is known", async () => (await opened.refresh()).leavers.size === i + 1);
      expect(await opened.send("all the same")).toMatchObject({ rekeyPending: true });
    }
    expect(await viewOf(room)).toMatchObject({ epoch: 2, pending: true });
    expect(mine.pending.map(({ left }) => left.length)).toEqual([1, 2]);
    expect(mine.trouble).toEqual([]);
  });

  test("neither by a client with settles: false nor by a member, whose sends report it", async () => {
    const { ana, others, room } = await abandoned(2, 1);
    const { roomId, subject } = room.state;
    for (const [identity, options] of [
      [ana, { settles: false }],
      [others[1] as Identity, {}],
    ] as const) {
      await using one = await client(identity, options);
      const opened = await one.bus.room(roomId);
      for (let i = 0; i < 2; i++) expect(await opened.send("hello")).toMatchObject({ rekeyPending: true });
      expect(one.pending).toEqual([{ roomId, subject, left: [others[0]?.endpoint ?? ""] }]);
    }
    expect(await viewOf(room)).toMatchObject({ epoch: 1, pending: true });
  });

  test("except in a room that the owner did not accept", async () => {
    // Bob made ana an owner of his room without her acceptance, and left.
    const [bob, ana] = [await user("bob"), await user("ana")];
    const room = await inviteMembers(server, await createRoom(server, bob, matrix), ana);
    const { roomId } = room.state;
    const { changes } = await trustingPeer(bob, [server.ready.http]).open(roomId);
    await changes.setRole(ana.endpoint, "owner");
    await leave(server, room, bob);
    const hers = { ...room, owner: ana };
    await using mine = await client(ana);
    expect(await mine.bus.rooms()).toMatchObject([{ id: roomId, accepted: false, rekeyPending: true }]);
    await mine.bus.room(roomId);
    const other = await abandoned(2, 1);
    await using _ = await client(other.ana);
    await until("another's is settled", isSettled(other.room));
    expect((await viewOf(hers)).pending).toBe(true);
    await mine.bus.accept(roomId);
    await until("it is settled", isSettled(hers));
    expect(mine.trouble).toEqual([]);
  });

  test("by exactly one of two owners", async () => {
    const { ana, others, room } = await abandoned(3, 0);
    const second = others[2] as Identity;
    const { changes } = await trustingPeer(ana, [server.ready.http]).open(room.state.roomId);
    await changes.setRole(second.endpoint, "owner");
    await leave(server, room, others[0] as Identity);
    const { version } = await viewOf(room);
    await using one = await client(ana);
    await using two = await client(second);
    await until("it is settled", isSettled(room));
    const rooms = await Promise.all([one, two].map(({ bus }) => bus.room(room.state.roomId)));
    await Promise.all(rooms.map((opened) => opened.send("hello")));
    expect(await viewOf(room)).toEqual({ version: version + 1, epoch: 2, pending: false });
    expect(await epochsOf(room)).toEqual([2, 2]);
  });
});

describe("on the command line", () => {
  const peerOf = (identity: Identity, handle: string) => new CliPeer(server, identity, handle);

  for (const command of ["send", "request", "tail", "chat", "serve-rpc", "worker", "blob"] as const) {
    test(`${command} settles departures in an owner's room`, async () => {
      const { ana, room } = await abandoned(2, 1);
      using peer = peerOf(ana, "ana");
      const { subject } = room.state;
      const after = { "serve-rpc": ["--", "cat"], send: ["under the new key"], request: ["ping"] } as const;
      const more = command in after ? after[command as keyof typeof after] : [];
      if (command === "blob") await peer.ok(["blob", "put", subject, peer.folder.file(".config/unibus/identity.json")]);
      else if (command === "send") await peer.ok(["send", subject, ...more]);
      else if (command === "request") await peer.run(["request", subject, ...more, "--timeout", "300"]);
      else {
        await using running = peer.start([command, subject, ...more]);
        await until("it is settled", isSettled(room));
        await running.end();
      }
      expect(await viewOf(room)).toMatchObject({ epoch: 2, pending: false });
      if (command === "send") expect(await epochsOf(room)).toEqual([2]);
    });
  }

  test("a member's send reports a pending departure, and read-only commands do not settle it", async () => {
    const { ana, others, room } = await abandoned(2, 1);
    const { subject } = room.state;
    using member = peerOf(others[1] as Identity, "m1");
    const sent = await member.run(["send", subject, "hello"]);
    expect([sent.code, sent.stderr]).toEqual([0, expect.stringContaining(`m0 left ${subject} and still has its key`)]);
    expect(JSON.parse(await member.ok(["send", subject, "hello", "--json"]))).toMatchObject({ rekey_pending: true });
    using owner = peerOf(ana, "ana");
    for (const look of [["rooms"], ["room", "show", subject], ["room", "members", subject], ["history", subject]]) {
      await owner.ok(look);
    }
    expect(await viewOf(room)).toMatchObject({ epoch: 1, pending: true });
  });
});

describe("a new member", () => {
  const texts = async (identity: Identity, room: OwnRoom) => {
    await using one = await client(identity, { lazy: true, settles: false });
    const { messages } = await (await one.bus.room(room.state.roomId)).history();
    return messages.map(({ text }) => text);
  };

  test("can read messages under the present key; with freshKey, only later ones", async () => {
    const { ana, others, room } = await abandoned(1, 0);
    const [late, fresh] = [await user("late"), await user("fresh")];
    await using mine = await client(ana);
    const opened = await mine.bus.room(room.state.roomId);
    await opened.send("one");
    await opened.membership.add(late.endpoint);
    await opened.send("two");
    await opened.membership.add(fresh.endpoint, { freshKey: true });
    await opened.send("three");
    expect(await texts(others[0] as Identity, room)).toEqual(["one", "two", "three"]);
    expect(await texts(late, room)).toEqual(["one", "two", "three"]);
    expect(await texts(fresh, room)).toEqual(["three"]);
  });

  test("who returns cannot read messages from their absence, after a leave or a kick", async () => {
    const { ana, others, room: made } = await abandoned(2, 0);
    const [left, kicked] = others as [Identity, Identity];
    const room = await kick(server, made, kicked, ana, left);
    await using mine = await client(ana);
    const opened = await mine.bus.room(room.state.roomId);
    await leave(server, room, left);
    await until("it is settled", isSettled(room));
    await opened.refresh();
    await opened.send("in between");
    const { epoch } = opened;
    await opened.membership.add([left.endpoint, kicked.endpoint]);
    expect(opened.epoch).toBe(epoch + 1);
    await opened.send("together again");
    for (const one of [left, kicked]) expect(await texts(one, room)).toEqual(["together again"]);
  });

  test("gets a key that pending departures do not have", async () => {
    const { ana, room } = await abandoned(2, 1);
    const late = await user("late");
    const { trust, changes } = await trustingPeer(ana, [server.ready.http]).open(room.state.roomId);
    const { signPubHex: sign_pub, kexPubHex: kex_pub, kexSig: kex_sig, endpoint } = late;
    await changes.add([{ endpoint, sign_pub, kex_pub, kex_sig }]);
    expect([trust.room.leavers.size, trust.room.state.epoch]).toEqual([0, 2]);
  });

  test("of `room add --fresh-key` can read later messages only", async () => {
    using owner = await CliPeer.join(server, admin, "cli-ana");
    const fresh = await user("cli-fresh");
    const subject = freshSubject();
    await owner.ok(["room", "new", subject]);
    await owner.ok(["send", subject, "before"]);
    await owner.ok(["room", "add", subject, "--fresh-key", "cli-fresh"]);
    await owner.ok(["send", subject, "after"]);
    await using theirs = await client(fresh, { lazy: true });
    const { messages } = await (await theirs.bus.room(subject)).history();
    expect(messages.map(({ text }) => text)).toEqual(["after"]);
    expect(await owner.ok(["room", "add", "--help"])).toContain("A new member can read");
  });
});

describe("an owner's client replaces a key", () => {
  for (const persist of [true, false]) {
    test(`after as many messages as configured, in a room that keeps ${persist ? "them" : "nothing"}`, async () => {
      const rules = persist ? matrix : policy("encrypt", "sign_msgs");
      const { ana, room } = await abandoned(1, 0, rules);
      await using mine = await client(ana, { keyLifetime: { messages: 3 } });
      const opened = await mine.bus.room(room.state.roomId);
      await until("the age of the key is known", async () => (await mine.state.note(opened.id, "key")) !== null);
      for (let i = 0; i < 3; i++) await opened.send("one");
      expect(opened.epoch).toBe(1);
      await opened.send("under a new key");
      expect(opened.epoch).toBe(2);
      await opened.send("under the same");
      expect([opened.epoch, mine.trouble]).toEqual([2, []]);
    });
  }

  test("after as many messages of others, counted across processes", async () => {
    const { ana, others, room } = await abandoned(1, 0);
    const state = new MemoryState();
    {
      await using mine = await client(ana, { state, keyLifetime: { messages: 3 } });
      await mine.bus.room(room.state.roomId);
      await until("the age of the key is known", async () => (await state.note(room.state.roomId, "key")) !== null);
    }
    await using theirs = await client(others[0] as Identity);
    const opened = await theirs.bus.room(room.state.roomId);
    for (let i = 0; i < 3; i++) await opened.send("one");
    await using mine = await client(ana, { state, keyLifetime: { messages: 3 } });
    await mine.bus.room(room.state.roomId);
    await until("the key is replaced", async () => (await viewOf(room)).epoch === 2);
  });

  test("after as many days as configured, and never with 0", async () => {
    const { ana, room } = await abandoned(1, 0);
    const { roomId } = room.state;
    const dayMs = 86_400_000;
    const state = new MemoryState();
    const note = { epoch: 1, sinceSeq: 0, messages: 0 };
    await state.saveNote(roomId, "key", { ...note, sinceMs: Date.now() - 31 * dayMs });
    {
      await using never = await client(ana, { state, keyLifetime: { days: 0, messages: 0 } });
      await (await never.bus.room(roomId)).send("hello");
    }
    await state.saveNote(roomId, "key", { ...note, sinceMs: Date.now() - 29 * dayMs });
    {
      await using young = await client(ana, { state });
      await (await young.bus.room(roomId)).send("hello");
    }
    expect((await viewOf(room)).epoch).toBe(1);
    await state.saveNote(roomId, "key", { ...note, sinceMs: Date.now() - 30 * dayMs });
    await using mine = await client(ana, { state });
    await mine.bus.room(roomId);
    await until("the key is replaced", async () => (await viewOf(room)).epoch === 2);
    expect(await state.note(roomId, "key")).toMatchObject({ epoch: 1 });
  });
});
