/**
 * A lying server: it adds a reader, swaps a key, seals a key of its own, hides a kick, serves an old statement, or
 * claims that the room is not encrypted. The members' clients must detect each lie, at first sight where the signatures
 * show it and otherwise against what they have seen before, and send nothing.
 * Source: docs/protocol/rooms.md, docs/threat-model.md.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import type { Static } from "@sinclair/typebox";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { newRoomKey } from "../../src/client/crypto/keys.ts";
import { type ClientState, MemoryState } from "../../src/client/trust/state.ts";
import { openState } from "../../src/client/trust/state-node.ts";
import type * as api from "../../src/wire/api.ts";
import { keyCheck, memberLinesText, nextState, type RoomState, zeroHash } from "../../src/wire/statement.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import { Folder, Server } from "../support/executable.ts";
import { type Answer, HostileServer, withJson } from "../support/hostile-server.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { sealNow, signNow } from "../support/keys-now.ts";
import { freshSubject, policy, statementOf } from "../support/peer.ts";
import { failureOf, type HeldRoom, keysOf, type TrustingPeer, trustingPeer } from "../support/trusting-peer.ts";

type MemberList = Static<typeof api.MemberList>;
type Member = Static<typeof api.Member>;
type StatementList = Static<typeof api.StatementList>;
type RoomView = Static<typeof api.RoomView>;

let server: Server;
let people: Cast<"ana" | "bob" | "cleo" | "mallory">;
let ana: TrustingPeer;
let way: HostileServer;
const empty = Buffer.alloc(0);
const matrix = policy("encrypt", "persist", "sign_msgs");

beforeAll(async () => {
  server = await Server.start({ proxied: true, args: ["--set", "http.rate=100000"] });
  people = await castOf(server, "ana", "bob", "cleo", "mallory");
  way = await HostileServer.start(server.ready.http);
  ana = trustingPeer(people.ana, [server.ready.http]);
});
afterEach(() => way.honest());
afterAll(async () => {
  await way[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

/** A peer that reaches the bus through the lying server, with a fresh client state by default. */
const deceived = (user: Identity, state: ClientState = new MemoryState()) => trustingPeer(user, [way.url], state);

/** Creates a room of ana's with bob and cleo. */
async function roomOf(): Promise<HeldRoom> {
  const room = await ana.create(matrix);
  await room.changes.add([people.bob, people.cleo].map(keysOf));
  return room;
}

const memberOf = (user: Identity, more: Partial<Member> = {}): Member => ({
  ...keysOf(user),
  ...{ role: "member", since: 1, until: 0, left: false, handle: "mallory", ...more },
});

const members = (alter: (list: Member[]) => Member[]) => () =>
  way.alter<MemberList>("/members", (json) => ({ ...json, members: alter(json.members) }));
const statements =
  (alter: (list: StatementList["statements"]) => StatementList["statements"], more = false) =>
  () =>
    way.alter<StatementList>("/statements", (json) => ({ statements: alter(json.statements), more }));
const swapped = (user: () => Identity, by: (member: Member) => Partial<Member>) => (list: Member[]) =>
  list.map((one) => (one.endpoint === user().endpoint ? { ...one, ...by(one) } : one));
const cleos = (by: (member: Member) => Partial<Member>) => swapped(() => people.cleo, by);

const owner = () => people.ana;
const stranger = () => people.mallory;

/** Replaces lines of the last statement and signs the result, as an owner or as another user. */
const redone = (changed: Record<number, string>, by: () => Identity) => (list: StatementList["statements"]) =>
  list.map((one, index) => {
    if (index < list.length - 1) return one;
    const text = one.text.split("\n").map((line, at) => changed[at] ?? line);
    const state = text.join("\n");
    return { ...one, text: state, by: by().signPubHex, sig: Buffer.from(signNow(by(), state)).toString("base64") };
  });

/** Lies of the server, and the reason for which the client rejects each. */
const lies: readonly (readonly [string, () => void, string])[] = [
  [
    "adds a reader",
    members((list) => [...list, memberOf(people.mallory)]),
    "differs from the one that the owners signed",
  ],
  ["omits a member", members((list) => list.slice(1)), "differs from the one that"],
  ["makes a member an owner", members(cleos(() => ({ role: "owner" }))), "differs from the one that"],
  ["makes a member one of an earlier epoch", members(cleos(() => ({ since: 2 }))), "differs from the one that"],
  ["signs a member out", members(cleos(() => ({ until: 2 }))), "differs from the one that"],
  [
    "swaps a kex key",
    members(cleos(() => ({ kex_pub: people.mallory.kexPubHex, kex_sig: people.mallory.kexSig }))),
    "differs from the one that",
  ],
  ["swaps the signature of a kex key", members(cleos(() => ({ kex_sig: people.mallory.kexSig }))), "did not sign"],
  ["swaps a signing key", members(cleos(() => ({ sign_pub: people.mallory.signPubHex }))), "differs from the one that"],
  ["merges two members into one", members(merged), "list is malformed"],
  ["writes a key in capitals", members(cleos(({ kex_pub }) => ({ kex_pub: kex_pub.toUpperCase() }))), "malformed"],
  ["returns a statement by a stranger", statements(redone({ 9: zeroHash }, stranger)), "not signed by an owner"],
  [
    "returns statements with another's signature",
    statements((list) => list.map((one) => ({ ...one, sig: list[0]?.sig ?? "" }))),
    "not signed by an owner",
  ],
  ["returns the statements of another room", statements(redone({ 1: newUlid() }, owner)), "another room"],
  ["returns statements that drop the encryption", statements(redone({ 5: "011", 7: zeroHash }, owner)), "policy"],
  ["returns statements of another subject", statements(redone({ 4: "room.other" }, owner)), "subject"],
  ["returns the statements in another order", statements((list) => list.toReversed()), "out of order"],
  ["returns no statement", statements(() => []), "does not return statement 1"],
];

/** Merges two members into one whose fields contain both lines: the text, and so its hash, stays the same. */
function merged(list: Member[]): Member[] {
  const [first, second, ...rest] = [...list].sort((a, b) => (a.endpoint < b.endpoint ? -1 : 1));
  if (first === undefined || second === undefined) throw new Error("no two members");
  const endpoint = `${memberLinesText([first])}${second.endpoint}`;
  const made = [{ ...second, endpoint }, ...rest];
  if (memberLinesText(made) !== memberLinesText(list)) throw new Error("the texts differ: it proves nothing");
  return made;
}

describe("a server that", () => {
  test.each(lies)("%s is not believed at first sight, nor later, and nothing is sent", async (_, lie, why) => {
    const room = await roomOf();
    lie();
    const first = await failureOf(() => deceived(people.bob).open(room.trust.roomId));
    expect([first.code, first.message]).toEqual(["room_forked", expect.stringContaining(why)]);

    // An owner who has read the room before and sees the lie in the next version.
    way.honest();
    const owner = await deceived(people.ana).open(room.trust.roomId);
    await room.changes.setRole(people.cleo.endpoint, "owner");
    await room.changes.setRole(people.cleo.endpoint, "member");
    lie();
    const later = await failureOf(() => owner.trust.refresh());
    expect(later.code).toBe("room_forked");
    way.honest();
    way.asked.length = 0;
    const sends = [
      () => owner.trust.refresh(),
      () => owner.keys.key(1),
      () => owner.changes.add([keysOf(people.mallory)]),
      () => owner.changes.rekey(),
      async () => owner.trust.room,
    ];
    for (const send of sends) expect(await failureOf(send)).toBe(later);
    expect(way.asked).toEqual([]);
  });

  test("hides a kick is detected by a client that has seen it, also after a restart", async () => {
    const room = await roomOf();
    using folder = new Folder();
    const state = openState({ folder: folder.path, bus: "bus" });
    const bobs = await deceived(people.bob, state).open(room.trust.roomId);
    const old = await replies(people.bob, room.trust.roomId);
    await room.changes.kick(people.cleo.endpoint);
    await bobs.trust.refresh();
    way.rewrite((answer, { target }) =>
      old.has(target) ? { ...answer, body: old.get(target) ?? answer.body } : answer,
    );
    expect(await failureOf(() => bobs.trust.refresh())).toMatchObject({
      ...{ code: "room_forked", message: expect.stringContaining("went back from version 3 to 2") },
    });
    const again = openState({ folder: folder.path, bus: "bus" });
    const error = await failureOf(() => deceived(people.bob, again).open(room.trust.roomId));
    expect([error.code, error.message]).toEqual(["room_forked", expect.stringContaining("from version 3 to 2")]);
    // A client alone cannot know at first sight whether the server has more than it shows.
    const fresh = await deceived(people.bob).open(room.trust.roomId);
    expect(fresh.trust.room.state.version).toBe(2);
    // Another process of the same peer that was shown less detects it through the shared client state.
    const shared = new MemoryState();
    const slow = await deceived(people.bob, shared).open(room.trust.roomId);
    way.honest();
    await deceived(people.bob, shared).open(room.trust.roomId);
    way.rewrite((answer, { target }) =>
      old.has(target) ? { ...answer, body: old.get(target) ?? answer.body } : answer,
    );
    expect((await failureOf(() => slow.trust.refresh())).code).toBe("room_forked");
  });

  /** Returns what the server answers a member now, by target. */
  async function replies(user: Identity, roomId: string): Promise<Map<string, Buffer>> {
    const found = new Map<string, Buffer>();
    way.rewrite((answer, { target }) => {
      if (answer.status === 200) found.set(target, answer.body);
      return answer;
    });
    const held = await deceived(user).open(roomId);
    await held.trust.refresh();
    way.honest();
    return found;
  }

  test("returns two texts of one version, both signed by an owner, is detected by a client that has seen the first", async () => {
    const room = await roomOf();
    const bobs = await deceived(people.bob).open(room.trust.roomId);
    const before = room.trust.room.state;
    await room.changes.rekey();
    await bobs.trust.refresh();
    const change = { kind: "rotate", gone: new Set([people.cleo.endpoint]), keyCheck: "ab".repeat(32) } as const;
    const other: RoomState = nextState(before, change);
    statements((list) =>
      list.map((one) => (one.version === 3 ? { version: 3, ...statementOf(other, people.ana) } : one)),
    )();
    await room.changes.rekey();
    const error = await failureOf(() => bobs.trust.refresh());
    expect([error.code, error.message]).toEqual([
      "room_forked",
      expect.stringContaining("two different statements of version 3"),
    ]);
    const another = await failureOf(() => deceived(people.bob).open(room.trust.roomId));
    expect([another.code, another.message]).toEqual([
      "room_forked",
      expect.stringContaining("4 does not contain the hash of the previous"),
    ]);
  });

  const views: readonly (readonly [string, (view: RoomView) => Partial<RoomView>])[] = [
    ["claims that the room is unencrypted", ({ policy }) => ({ policy: { ...policy, encrypt: false } })],
    ["claims another subject", () => ({ subject: "room.other" })],
    ["claims another epoch", ({ epoch }) => ({ epoch: epoch + 1 })],
    ["claims an older version", ({ version }) => ({ version: version - 1 })],
    ["answers for another room", () => ({ room_id: newUlid() })],
  ];
  test.each(views)("%s is not believed", async (_, alter) => {
    const room = await roomOf();
    const bobs = await deceived(people.bob).open(room.trust.roomId);
    way.alter<RoomView>(room.trust.roomId, (view) => ({ ...view, ...alter(view) }));
    expect((await failureOf(() => bobs.trust.refresh())).code).toBe("room_forked");
    expect((await failureOf(() => bobs.keys.key(1))).code).toBe("room_forked");
    // At first sight the client does not even request the room view: the signed statements decide.
    const fresh = await deceived(people.bob).open(room.trust.roomId);
    expect(fresh.trust.room.state).toEqual(room.trust.room.state);
  });

  test("seals a key of its own or another's to a member is detected", async () => {
    const room = await roomOf();
    const key = (sealed_key: () => string) => () =>
      way.alter<Static<typeof api.RoomKey>>("/key", (json) => ({ ...json, sealed_key: sealed_key() }));
    const own = newRoomKey();
    const keys = [
      key(() => sealNow(own, people.bob.kexPub)),
      key(() => sealNow(own, people.mallory.kexPub)),
      key(() => "AAAA"),
      key(() => ""),
    ];
    for (const lie of keys) {
      const bobs = await deceived(people.bob).open(room.trust.roomId);
      lie();
      expect((await failureOf(() => bobs.keys.key(1))).code).toBe("room_forked");
      expect((await failureOf(() => bobs.trust.refresh())).code).toBe("room_forked");
      way.honest();
    }
    // The key of another epoch is not accepted for this one.
    await room.changes.rekey();
    const old = sealNow((await room.keys.key(1)) ?? own, people.bob.kexPub);
    const bobs = await deceived(people.bob).open(room.trust.roomId);
    key(() => old)();
    expect((await failureOf(() => bobs.keys.key(2))).code).toBe("room_forked");
    expect(own).not.toEqual(await room.keys.key(2));
  });

  test("replaces a new room by one of its own is detected before anything is sent", async () => {
    const roomIds: string[] = [];
    way.rewrite((answer, { method, target, body }): Answer => {
      if (method === "POST" && target === "/rooms") {
        const { text } = (JSON.parse(body.toString()) as { statement: { text: string } }).statement;
        roomIds.push(text.split("\n")[1] ?? "");
      }
      if (!/\/(members|statements)/.test(target)) return answer;
      const roomId = roomIds.at(-1) ?? "";
      const lines = [{ ...memberOf(people.mallory, { role: "owner" }) }, memberOf(people.ana)];
      const check = keyCheck(roomId, 1, newRoomKey());
      const place = { roomId, version: 1, prev: zeroHash, subject: freshSubject(), policy: matrix, epoch: 1 };
      const state: RoomState = { ...place, keyCheck: check, lines };
      const given = { version: 1, ...statementOf(state, people.mallory) };
      return withJson(
        answer,
        target.includes("members") ? { version: 1, members: lines } : { statements: [given], more: false },
      );
    });
    const error = await failureOf(() => deceived(people.ana).create(matrix));
    expect([error.code, error.message]).toEqual([
      "room_forked",
      expect.stringContaining("differs from the one that this client"),
    ]);
    expect(roomIds).toHaveLength(1);
  });

  test("accepts a change and shows another one is detected", async () => {
    const room = await roomOf();
    const anas = await deceived(people.ana).open(room.trust.roomId);
    way.pretend(({ method }) =>
      method === "POST" ? withJson({ status: 200, headers: {}, body: empty }, { version: 3 }) : null,
    );
    const error = await failureOf(() => anas.changes.rekey());
    expect([error.code, error.message]).toEqual([
      "room_forked",
      expect.stringContaining("accepted version 3 but returns another"),
    ]);
  });

  test("claims that members left cannot make an owner sign out themselves", async () => {
    const room = await roomOf();
    const anas = await deceived(people.ana).open(room.trust.roomId);
    way.rewrite((answer, { method, target }) => {
      if (method !== "GET" || answer.status !== 200) return answer;
      const json = JSON.parse(answer.body.toString()) as MemberList & RoomView;
      if (target.endsWith("/members")) {
        return withJson(answer, { ...json, members: json.members.map((one) => ({ ...one, left: true })) });
      }
      return target.endsWith(room.trust.roomId) ? withJson(answer, { ...json, rekey_pending: true }) : answer;
    });
    expect((await failureOf(() => anas.changes.rekey())).code).toBe("forbidden");
    expect(anas.trust.room.leavers.size).toBe(3);
    way.honest();
    await room.trust.refresh();
    expect(room.trust.room.state.version).toBe(2);
  });

  test("truncates its statements is asked again, and then not believed", async () => {
    const room = await roomOf();
    const short = (list: StatementList["statements"]) => list.slice(0, 1);
    for (const lie of [statements(short), statements(short, true)]) {
      lie();
      const error = await failureOf(() => deceived(people.bob).open(room.trust.roomId));
      expect([error.code, error.message]).toEqual(["unavailable", expect.stringContaining("try again")]);
    }
    // Member lists newer or older than the statements come from a concurrent change: the next read is consistent.
    let count = 0;
    const old = await replies(people.bob, room.trust.roomId);
    await room.changes.kick(people.cleo.endpoint);
    way.rewrite((answer, { target }) => {
      const body = old.get(target);
      if (!target.endsWith("/members") || body === undefined) return answer;
      count += 1;
      return count > 1 ? answer : { ...answer, body };
    });
    const bobs = await deceived(people.bob).open(room.trust.roomId);
    expect([bobs.trust.room.state.version, count]).toEqual([3, 2]);
  });

  test("answers without end is cut off", async () => {
    const room = await roomOf();
    const bobs = await deceived(people.bob).open(room.trust.roomId);
    const large = Buffer.alloc(21_000_000, " ");
    way.rewrite((answer) => ({ ...answer, body: large }));
    const error = await failureOf(() => bobs.trust.refresh());
    expect([error.code, error.message]).toEqual(["unavailable", expect.stringContaining("more than 1048576 bytes")]);
    way.honest();
    await bobs.trust.refresh();
  });
});
