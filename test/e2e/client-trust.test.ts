/**
 * Rooms in the client's trust layer, against a real server: how the client creates, changes and verifies rooms, caches
 * what it has verified, and handles changes that race or lose their reply. Source: docs/protocol/rooms.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { identityText } from "../../src/client/crypto/identity.ts";
import type { RoomTrust } from "../../src/client/trust/room-trust.ts";
import { memberAt, memberNow } from "../../src/client/trust/verified-room.ts";
import { sha256Hex, toHex } from "../../src/wire/encoding.ts";
import { Folder, Server } from "../support/executable.ts";
import { HostileServer } from "../support/hostile-server.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { freshSubject, policy } from "../support/peer.ts";
import { failureOf, type HeldRoom, keysOf, type TrustingPeer, trustingPeer } from "../support/trusting-peer.ts";

let server: Server;
let people: Cast<"ana" | "bob" | "cleo" | "dan">;
let ana: TrustingPeer;
let bob: TrustingPeer;
let cleo: TrustingPeer;
const matrix = policy("encrypt", "persist", "sign_msgs");

beforeAll(async () => {
  server = await Server.start({ proxied: true, args: ["--set", "http.rate=100000"] });
  people = await castOf(server, "ana", "bob", "cleo", "dan");
  const peer = (name: keyof typeof people) => trustingPeer(people[name], [server.ready.http]);
  [ana, bob, cleo] = [peer("ana"), peer("bob"), peer("cleo")];
});
afterAll(() => server[Symbol.asyncDispose]());

const all = () => [people.bob, people.cleo].map(keysOf);
const brief = ({ room }: RoomTrust) => ({
  version: room.state.version,
  epoch: room.state.epoch,
  present: room.present.map(({ endpoint }) => endpoint).sort(),
});
const endpoints = (...names: (keyof typeof people)[]) => names.map((name) => people[name].endpoint).sort();
const keyOf = async ({ keys }: HeldRoom, epoch: number) => toHex((await keys.key(epoch)) ?? new Uint8Array());

describe("a room", () => {
  test("can be created, joined, kicked from, rekeyed, left, joined again and deleted, with the same state for all members", async () => {
    const subject = freshSubject();
    const mine = await ana.create(matrix, subject);
    const { roomId } = mine.trust;
    expect(brief(mine.trust)).toEqual({ version: 1, epoch: 1, present: endpoints("ana") });
    expect(mine.trust.room.state).toMatchObject({ subject, policy: matrix, roomId });

    await mine.changes.add(all());
    const [bobs, cleos] = [await bob.open(roomId), await cleo.open(roomId)];
    const key1 = await keyOf(mine, 1);
    expect(key1).toMatch(/^[0-9a-f]{64}$/);
    for (const held of [bobs, cleos]) {
      expect([brief(held.trust), await keyOf(held, 1)]).toEqual([brief(mine.trust), key1]);
    }

    await mine.changes.kick(people.cleo.endpoint);
    expect(brief(mine.trust)).toEqual({ version: 3, epoch: 2, present: endpoints("ana", "bob") });
    await bobs.trust.refresh();
    const key2 = await keyOf(bobs, 2);
    expect([await keyOf(mine, 2), key2 === key1]).toEqual([key2, false]);
    expect((await failureOf(() => cleos.trust.refresh())).code).toBe("forbidden");
    const { room } = bobs.trust;
    expect([1, 2].map((epoch) => memberAt(room, people.cleo.endpoint, epoch)?.until)).toEqual([2, undefined]);

    await mine.changes.rekey();
    await mine.changes.setRole(people.bob.endpoint, "owner");
    expect(await mine.changes.setRole(people.bob.endpoint, "owner")).toBe(mine.trust.room);
    await bobs.trust.refresh();
    expect([bobs.trust.room.owners.length, bobs.trust.room.ownersChanged]).toEqual([2, true]);

    // Ana leaves; bob signs her out, and can then add cleo in the next epoch.
    await mine.changes.leave();
    await mine.changes.leave();
    await bobs.trust.refresh();
    expect([...bobs.trust.room.leavers]).toEqual(endpoints("ana"));
    await bobs.changes.rekey();
    expect(brief(bobs.trust)).toEqual({ version: 6, epoch: 4, present: endpoints("bob") });
    expect(bobs.trust.room.leavers.size).toBe(0);
    await bobs.changes.add([keysOf(people.cleo), keysOf(people.ana)]);

    // Both were members before, so they get a new key in a new epoch.
    const again = await cleo.open(roomId);
    expect(await keyOf(again, 5)).toBe(await keyOf(bobs, 5));
    expect((await failureOf(() => again.keys.key(4))).code).toBe("not_found");
    expect(await keyOf(again, 1)).toBe(key1);
    expect((await failureOf(() => again.keys.key(2))).code).toBe("not_found");
    expect(again.trust.room.firstOwners).toEqual([people.ana.signPubHex]);
    expect(memberNow(again.trust.room, people.cleo.endpoint)?.since).toBe(5);

    await bobs.changes.delete();
    await bobs.changes.delete();
    expect((await failureOf(() => again.trust.refresh())).code).toBe("gone");
  });

  test("that is unencrypted has no keys, and works otherwise", async () => {
    const mine = await ana.create(policy());
    await mine.changes.add(all());
    await mine.changes.kick(people.bob.endpoint);
    await mine.changes.rekey();
    expect(brief(mine.trust)).toEqual({ version: 4, epoch: 3, present: endpoints("ana", "cleo") });
    const cleos = await cleo.open(mine.trust.roomId);
    expect([await mine.keys.key(1), await cleos.keys.key(3)]).toEqual([null, null]);
  });

  test("is refreshed from the known state: nothing is requested twice", async () => {
    await using way = await HostileServer.start(server.ready.http);
    const mine = await ana.create(matrix);
    await mine.changes.add(all());
    const bobs = await trustingPeer(people.bob, [way.url]).open(mine.trust.roomId);
    const asked = async (work: () => Promise<unknown>) => {
      way.asked.length = 0;
      await work();
      return way.asked.map((line) => line.replace(/.*\/rooms\/\w+/, ""));
    };
    expect(await asked(() => bobs.trust.refresh())).toEqual([""]);
    expect(await asked(() => Promise.all([1, 1, 1].map((epoch) => bobs.keys.key(epoch))))).toEqual(["/key?epoch=1"]);
    expect(await asked(() => failureOf(() => bobs.keys.key(2)))).toEqual([]);
    await mine.changes.rekey();
    expect(await asked(() => bobs.trust.refresh())).toEqual(["", "/members", "/statements?from=2"]);
    expect(await asked(() => Promise.all([1, 2].map(() => bobs.trust.refresh())))).toEqual(["", ""]);
  });

  test("that a client has seen before continues from that state, and its past is read when an old key is needed", async () => {
    await using way = await HostileServer.start(server.ready.http);
    const mine = await ana.create(matrix);
    await mine.changes.add(all());
    const { state } = bob;
    await bob.open(mine.trust.roomId);
    for (let i = 0; i < 3; i++) await mine.changes.rekey();
    const later = await trustingPeer(people.bob, [way.url], state).open(mine.trust.roomId);
    expect(way.asked.filter((line) => line.includes("statements"))).toEqual([expect.stringContaining("?from=2")]);
    const again = await trustingPeer(people.bob, [way.url], state).open(mine.trust.roomId);
    expect(await keyOf(again, 4)).toBe(await keyOf(mine, 4));
    expect(way.asked.at(-1)).toContain("/key?epoch=4");
    expect(await keyOf(again, 1)).toBe(await keyOf(mine, 1));
    expect(way.asked.at(-1)).toContain("?from=1");
    expect(await keyOf(later, 2)).toBe(await keyOf(again, 2));
  });
});

test("the same code verifies a room in Node", async () => {
  const node = Bun.which("node");
  if (node === null) throw new Error("node is not installed (install Node 20 or newer)");
  using folder = new Folder();
  const entrypoints = [join(import.meta.dir, "../support/node-peer.ts")];
  const built = await Bun.build({ entrypoints, target: "node", outdir: folder.path });
  expect(built.success).toBe(true);
  const mine = await ana.create(matrix);
  await mine.changes.add(all());
  await mine.changes.rekey();
  const child = Bun.spawn([node, folder.file("node-peer.js")], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  const identity = identityText(people.bob);
  child.stdin.write(
    JSON.stringify({ url: server.ready.http, identity, folder: folder.file("state"), room: mine.trust.roomId }),
  );
  await child.stdin.end();
  const { hash, owners } = mine.trust.room;
  const key = sha256Hex((await mine.keys.key(2)) ?? "");
  expect(JSON.parse(await new Response(child.stdout).text())).toEqual({
    ...{ version: 3, epoch: 2, key },
    pin: { version: 3, epoch: 2, hash, owners, firstOwners: owners },
  });
}, 20_000);

describe("a change of a room", () => {
  test("that lost a race with another owner is signed again", async () => {
    const mine = await ana.create(matrix);
    await mine.changes.add(all());
    await mine.changes.setRole(people.bob.endpoint, "owner");
    const bobs = await bob.open(mine.trust.roomId);
    const changes = [
      ...[mine, bobs, mine, bobs].map(({ changes }) => changes.rekey()),
      mine.changes.add([keysOf(people.dan)]),
      bobs.changes.setRole(people.cleo.endpoint, "owner"),
    ];
    // Any change may lose all its races; then it fails cleanly, without a partial effect.
    const done = (await Promise.allSettled(changes)).filter(({ status }) => status === "fulfilled").length;
    expect(done).toBeGreaterThanOrEqual(3);
    await Promise.all([mine, bobs].map(({ trust }) => trust.refresh()));
    expect(mine.trust.room.state).toEqual(bobs.trust.room.state);
    expect(mine.trust.room.state.version).toBe(3 + done);
    expect(await keyOf(mine, mine.trust.room.state.epoch)).toBe(await keyOf(bobs, mine.trust.room.state.epoch));
  });

  test("whose answers are lost is applied once", async () => {
    await using way = await HostileServer.start(server.ready.http);
    let lost = 0;
    way.rewrite((answer, { method }) => {
      if (method === "GET" || answer.status >= 400) return answer;
      lost += 1;
      return null;
    });
    const mine = await trustingPeer(people.ana, [way.url]).create(matrix);
    await mine.changes.add(all());
    await mine.changes.setRole(people.bob.endpoint, "owner");
    await mine.changes.kick(people.cleo.endpoint);
    await mine.changes.rekey();
    expect(brief(mine.trust)).toEqual({ version: 5, epoch: 3, present: endpoints("ana", "bob") });
    await mine.changes.leave();
    expect(lost).toBe(6);
    const bobs = await bob.open(mine.trust.roomId);
    expect([...bobs.trust.room.leavers]).toEqual(endpoints("ana"));
    expect(await keyOf(bobs, 3)).toMatch(/^[0-9a-f]{64}$/);
    const second = await trustingPeer(people.bob, [way.url]).open(mine.trust.roomId);
    await second.changes.delete();
    expect(lost).toBe(7);
  });

  test("that is refused has a clear error, and changes nothing", async () => {
    const mine = await ana.create(matrix);
    await mine.changes.add([keysOf(people.bob)]);
    const bobs = await bob.open(mine.trust.roomId);
    const stranger = keysOf(people.dan);
    const refused: readonly (readonly [string, () => Promise<unknown>])[] = [
      ["forbidden", () => bobs.changes.add([stranger])],
      ["forbidden", () => bobs.changes.rekey()],
      ["conflict", () => mine.changes.add([keysOf(people.bob)])],
      ["conflict", () => mine.changes.leave()],
      ["conflict", () => mine.changes.setRole(people.ana.endpoint, "member")],
      ["not_found", () => mine.changes.kick(people.dan.endpoint)],
      ["not_found", () => mine.changes.setRole(people.dan.endpoint, "owner")],
      ["invalid", () => mine.changes.kick(people.ana.endpoint)],
      ["invalid", () => mine.changes.add([{ ...stranger, kex_pub: keysOf(people.cleo).kex_pub }])],
      ["invalid", () => mine.changes.add([{ ...stranger, endpoint: people.cleo.endpoint }])],
      ["forbidden", () => bobs.changes.delete()],
      ["conflict", () => ana.create(matrix, mine.trust.room.state.subject)],
    ];
    for (const [index, [code, change]] of refused.entries()) {
      expect([index, (await failureOf(change)).code as string]).toEqual([index, code]);
    }
    await mine.trust.refresh();
    expect(brief(mine.trust)).toEqual({ version: 2, epoch: 1, present: endpoints("ana", "bob") });
  });

  test("adds a member who left and was not yet signed out, in a new epoch", async () => {
    const mine = await ana.create(matrix);
    await mine.changes.add(all());
    await (await bob.open(mine.trust.roomId)).changes.leave();
    await mine.changes.add([keysOf(people.bob)]);
    expect(brief(mine.trust)).toEqual({ version: 4, epoch: 2, present: endpoints("ana", "bob", "cleo") });
    expect(mine.trust.room.members.get(people.bob.endpoint)?.map(({ since, until }) => [since, until])).toEqual([
      [1, 2],
      [2, 0],
    ]);
  });
});
