/**
 * A forged copy of a room at its first open: the server shows a complete, validly signed chain made by another user.
 * Only out-of-band information distinguishes it from the real room: a room link, the fingerprint words or a pinned
 * owner. Without one the room stays unverified; with one the forgery is reported, and the client sends and seals
 * nothing until the user approves. Source: docs/protocol/rooms.md, docs/threat-model.md.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import {
  Bus,
  type BusEvents,
  type ClientState,
  fingerprintWords,
  MemoryState,
  type Room,
} from "../../src/client/index.ts";
import { openState } from "../../src/client/trust/state-node.ts";
import { Folder, Server, until } from "../support/executable.ts";
import { showForgedRoom } from "../support/forged-room.ts";
import { HostileServer } from "../support/hostile-server.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { trustingPeer } from "../support/trusting-peer.ts";

let server: Server;
let people: Cast<"ana" | "bob" | "mallory">;
let way: HostileServer;
let ana: Bus;

beforeAll(async () => {
  server = await Server.start({ proxied: true, args: ["--set", "http.rate=100000"] });
  people = await castOf(server, "ana", "bob", "mallory");
  way = await HostileServer.start(server.ready.http);
  ana = await Bus.connect({ urls: [server.ready.http], identity: people.ana, state: new MemoryState() });
});
afterEach(() => way.honest());
afterAll(async () => {
  await ana.close();
  await way[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

/** Connects bob's client through the lying server, with the given client state. */
async function bobsBus(state: ClientState = new MemoryState()) {
  const bus = await Bus.connect({ urls: [way.url], identity: people.bob, state, lazy: true });
  const suspicious: BusEvents["suspicious"][] = [];
  bus.on("suspicious", (what) => suspicious.push(what));
  return { bus, state, suspicious, [Symbol.asyncDispose]: () => bus.close() };
}

/** Creates a room of ana's with bob as a member. */
async function roomOf(): Promise<Room> {
  const room = await ana.createRoom(`room.f-${crypto.randomUUID()}`, "matrix");
  await room.membership.add(people.bob.endpoint);
  return room;
}

const forge = (room: Room, handle: string, forger: Identity = people.mallory) =>
  showForgedRoom(way, { roomId: room.id, subject: room.subject, forger, handle, victim: people.bob });

/** Every operation that would seal something for the room or send to it. */
const sends: Readonly<Record<string, (room: Room) => Promise<unknown>>> = {
  send: (room) => room.send("a secret"),
  react: (room) => room.react({ id: room.id, thread: null }, "+1"),
  reply: (room) => room.reply({ id: room.id, thread: null }, "a secret"),
  request: (room) => room.request("a secret"),
  putBlob: (room) => room.putBlob(new Uint8Array(8)),
  add: (room) => room.membership.add(people.ana.endpoint),
  kick: (room) => room.membership.kick(people.mallory.endpoint),
  setRole: (room) => room.membership.setRole(people.mallory.endpoint, "member"),
  rekey: (room) => room.membership.rekey(),
};

describe("a forged copy of a room", () => {
  test("that is opened by the real room's link is room_forked, and is not stored", async () => {
    const room = await roomOf();
    forge(room, "ana");
    await using bob = await bobsBus();
    await expect(bob.bus.room(room.link)).rejects.toMatchObject({
      code: "room_forked",
      message: expect.stringContaining(fingerprintWords(room.fingerprint)),
    });
    expect(await bob.state.room(room.id)).toBeNull();
    expect(await bob.state.note(room.id, "identity")).toBeNull();
    way.honest();
    const real = await bob.bus.room(room.link);
    expect([real.trust, real.fingerprint]).toEqual(["verified", room.fingerprint]);
    await real.send("to the real one");
    await until("ana has received it", async () => (await room.history()).messages.at(-1)?.text === "to the real one");
  });

  test("is unverified, and is later detected by its words or the link", async () => {
    const room = await roomOf();
    forge(room, "somebody");
    await using bob = await bobsBus();
    const forged = await bob.bus.room(room.subject);
    expect([forged.trust, forged.ownerConflicts]).toEqual(["unverified", []]);
    expect(forged.fingerprint).not.toBe(room.fingerprint);
    const words = fingerprintWords(room.fingerprint);
    await expect(forged.verify(words)).rejects.toMatchObject({ code: "room_forked" });
    await expect(bob.bus.room(room.link)).rejects.toMatchObject({ code: "room_forked" });
    expect(forged.trust).toBe("unverified");
  });

  for (const [handle, how] of [
    ["ana", "whose owner has the name of a pinned one"],
    ["\u0430na", "whose owner's name looks like that of a pinned one"],
    ["ANA", "whose owner has a pinned name in capitals"],
  ] as const) {
    test(`${how} is reported, and nothing is sealed or sent until that is approved`, async () => {
      const room = await roomOf();
      await using bob = await bobsBus();
      await bob.state.pinHandle("ana", people.ana.endpoint);
      forge(room, handle);
      const forged = await bob.bus.room(room.subject);
      const { endpoint } = people.mallory;
      const known = { handle: "ana", endpoint: people.ana.endpoint };
      expect(forged.ownerConflicts).toEqual([{ handle, endpoint, known }]);
      expect(bob.suspicious).toMatchObject([{ roomId: room.id, what: "owner_conflict", from: endpoint }]);
      way.asked.length = 0;
      for (const [name, send] of Object.entries(sends)) {
        const failure = { code: "forbidden", message: expect.stringContaining(endpoint) };
        await expect(send(forged), name).rejects.toMatchObject(failure);
      }
      expect(way.asked.filter((line) => /blobs|key|POST|DELETE|PUT/.test(line))).toEqual([]);
      await forged.approveOwners();
      await forged.putBlob(new Uint8Array(8));
      // The approval is stored for this room only.
      await using again = await bobsBus(bob.state);
      expect((await again.bus.room(room.id)).ownerConflicts).toEqual([]);
      const other = await roomOf();
      forge(other, handle);
      expect((await again.bus.room(other.id)).ownerConflicts).toHaveLength(1);
    });
  }

  test("an owner with a name given by the user is known, even if others have a similar name", async () => {
    const room = await roomOf();
    await using bob = await bobsBus();
    await bob.state.pinHandle("\u0430na", people.mallory.endpoint);
    await bob.state.pinHandle("ana", people.ana.endpoint);
    expect((await bob.bus.room(room.id)).ownerConflicts).toEqual([]);
  });
});

describe("the real room", () => {
  test("is verified for its creator, by its link, and by its words, which is remembered", async () => {
    using folder = new Folder();
    const room = await roomOf();
    expect(room.trust).toBe("verified");
    const place = { folder: folder.file("state"), bus: way.url };
    await using bob = await bobsBus(openState(place));
    const theirs = await bob.bus.room(room.id);
    expect([theirs.trust, theirs.fingerprint]).toEqual(["unverified", room.fingerprint]);
    for (const wrong of ["eight words", "zoo ".repeat(8), room.link.replace(room.id, ana.identity.endpoint)]) {
      await expect(theirs.verify(wrong)).rejects.toThrow();
    }
    expect(theirs.trust).toBe("unverified");
    await theirs.verify(fingerprintWords(room.fingerprint).toUpperCase());
    expect(theirs.trust).toBe("verified");
    await using again = await bobsBus(openState(place));
    expect((await again.bus.room(room.subject)).trust).toBe("verified");
    // The fingerprint never changes.
    await room.membership.rekey();
    await theirs.refresh();
    expect(theirs.fingerprint).toBe(room.fingerprint);
  });

  test("that was known before fingerprints were stored gets its own, from its verified beginning", async () => {
    const room = await roomOf();
    await room.membership.rekey();
    const bob = trustingPeer(people.bob, [way.url]);
    await bob.open(room.id);
    const pin = await bob.state.room(room.id);
    if (pin === null) throw new Error("nothing was pinned");
    const old = async () => {
      const state = new MemoryState();
      await state.saveRoom(room.id, pin);
      return state;
    };
    const { trust } = await trustingPeer(people.bob, [way.url], await old()).open(room.id);
    expect(trust.identity.fingerprint).toBe(room.fingerprint);
    // No later statement covers the last signature, and it is part of the fingerprint: the client must verify it.
    way.alter<{ statements: { version: number; sig: string }[] }>("/statements", ({ statements, ...rest }) => {
      const last = statements.at(-1)?.sig ?? "";
      return { ...rest, statements: statements.map((one) => (one.version === 1 ? { ...one, sig: last } : one)) };
    });
    await expect(trustingPeer(people.bob, [way.url], await old()).open(room.id)).rejects.toMatchObject({
      code: "room_forked",
      message: expect.stringContaining("statement 1 is not signed"),
    });
  });

  test("a damaged link is refused as damaged, without a request to the server", async () => {
    const room = await roomOf();
    await using bob = await bobsBus();
    way.asked.length = 0;
    for (const link of [room.link.slice(0, -1), `${way.url}/room#${room.id}`, `${way.url}/join#${"0".repeat(64)}`]) {
      await expect(bob.bus.room(link)).rejects.toMatchObject({ code: "invalid" });
    }
    expect(way.asked).toEqual([]);
  });
});
