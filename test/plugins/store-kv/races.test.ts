/**
 * Races between three nodes on the same buckets: of conflicting calls exactly one wins, independent calls all take
 * effect, and limits hold on whichever nodes the calls arrive.
 */

import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { Notices } from "../../../src/contracts/notices.ts";
import { withDevice } from "../../../src/contracts/stay-rules.ts";
import type { KvStore } from "../../../src/plugins/store-kv/store.ts";
import { UserRules } from "../../../src/plugins/users/rules.ts";
import { devicesMax } from "../../../src/wire/api.ts";
import {
  callers,
  changeOf,
  epochMs,
  inviteSample,
  keySample,
  peer,
  reviseStay,
  roomIdSample,
  roomSample,
  sealedSample,
  staySample,
  upTo,
  userSample,
  winners,
} from "../../conformance/store-samples.ts";
import { KvServer } from "./server.ts";

const roomId = roomIdSample(1);

let server: KvServer;
let nodes: KvStore[];
beforeAll(async () => {
  server = await KvServer.start(16);
});
beforeEach(async () => {
  const account = server.freshAccount();
  nodes = await Promise.all(upTo(3).map(() => server.store(account)));
});
afterAll(() => server[Symbol.asyncDispose]());

/** The node that the n-th caller uses. */
function nodeOf(n: number): KvStore {
  const node = nodes[n % nodes.length];
  if (node === undefined) throw new Error("no node");
  return node;
}

test("of many claims of an invite exactly one wins", async () => {
  const { id } = inviteSample(1);
  await nodeOf(0).invites.insertInvite(inviteSample(1));
  const claim = (n: number) => ({ signPub: keySample(n), kexPub: keySample(n), at: epochMs });
  const won = await winners(upTo(callers).map((n) => nodeOf(n).invites.claimInvite(id, claim(n))));
  expect(won).toHaveLength(1);
  for (const { invites } of nodes) {
    expect((await invites.getInvite(id))?.usedSignPub).toBe(keySample(won[0] ?? -1));
    expect(await invites.listPendingInvites(10)).toEqual([]);
  }
});

test("of many changes of a room exactly one wins, and every node sees that one only", async () => {
  await nodeOf(0).rooms.insertRoom(roomSample(1));
  const changes = upTo(callers).map((n) =>
    changeOf(roomSample(1).room, {
      rekey: true,
      stays: [staySample(n + 2)],
      keys: [sealedSample(n + 2, 2)],
      salt: `${n}`,
    }),
  );
  const won = await winners(changes.map((change, n) => nodeOf(n).rooms.applyChange(change)));
  expect(won).toHaveLength(1);
  for (const { rooms } of nodes) {
    expect(await rooms.getRoom(roomId)).toEqual(changes[won[0] ?? -1]?.room ?? null);
    expect((await rooms.listStays(roomId)).map(({ endpoint }) => endpoint).sort()).toEqual(
      [peer(1), peer((won[0] ?? -1) + 2)].sort(),
    );
    const listed = await Promise.all(upTo(callers).map((n) => rooms.listRoomsOf(peer(n + 2))));
    expect(upTo(callers).filter((n) => (listed[n]?.length ?? 0) > 0)).toEqual(won);
  }
});

test("of many new rooms exactly one gets a subject, and exactly one gets an id", async () => {
  const subject = "room.wanted";
  const bySubject = await winners(upTo(callers).map((n) => nodeOf(n).rooms.insertRoom(roomSample(n, { subject }))));
  expect(bySubject).toHaveLength(1);
  const id = roomIdSample(1_000);
  const byId = await winners(upTo(callers).map((n) => nodeOf(n).rooms.insertRoom(roomSample(100 + n, { roomId: id }))));
  expect(byId).toHaveLength(1);
  expect(await nodeOf(1).rooms.listRooms(null, 100)).toHaveLength(2);
});

test("a user who is added to many rooms at once is in all of them", async () => {
  const all = upTo(30);
  await Promise.all(all.map((n) => nodeOf(n).rooms.insertRoom(roomSample(n))));
  const added = all.map((n) =>
    nodeOf(n + 1).rooms.applyChange(changeOf(roomSample(n).room, { stays: [staySample(2)] })),
  );
  expect(await winners(added)).toHaveLength(all.length);
  for (const { rooms } of nodes) {
    expect((await rooms.listRoomsOf(peer(2))).map(({ room }) => room.roomId)).toEqual(all.map(roomIdSample));
    expect(await rooms.countRoomsBy(peer(1))).toBe(all.length);
  }
});

test("devices that are added at once on any nodes are all stored, up to the limit", async () => {
  await nodeOf(0).rooms.insertRoom(roomSample(1));
  const names = ["main", ...upTo(devicesMax + 3).map((n) => `d${String(n).padStart(2, "0")}`)];
  const add = (name: string, n: number) => reviseStay(nodeOf(n).rooms, roomId, peer(1), withDevice(name));
  const outcomes = await Promise.allSettled(names.map(add));
  const added = names.filter((_, n) => outcomes[n]?.status === "fulfilled").sort();
  expect(added).toHaveLength(devicesMax);
  expect((await nodeOf(2).rooms.getStay(roomId, peer(1)))?.devices).toEqual(added);
});

test("a creator's rooms stop at the limit, on whichever nodes they are created at once", async () => {
  const made = upTo(12).map((n) => nodeOf(n).rooms.insertRoom(roomSample(n + 1), 5));
  expect(await winners(made)).toHaveLength(5);
  for (const { rooms } of nodes) expect(await rooms.countRoomsBy(peer(1))).toBe(5);
});

test("pending invites stop at the limit, on whichever nodes they are created at once", async () => {
  const made = upTo(12).map((n) => nodeOf(n).invites.insertInvite(inviteSample(n), 5));
  expect(await winners(made)).toHaveLength(5);
  for (const { invites } of nodes) expect(await invites.listPendingInvites(100)).toHaveLength(5);
});

test("a kick and the next addition do not lose the room of the member who returns", async () => {
  const { rooms } = nodeOf(0);
  await rooms.insertRoom(roomSample(1));
  let { room } = roomSample(1);
  for (const epoch of upTo(12).slice(1)) {
    const [kicked, back] = [staySample(2, { since: epoch, until: epoch + 1 }), staySample(2, { since: epoch })];
    const added = changeOf(room, { stays: [back] });
    const out = changeOf(added.room, { rekey: true, stays: [kicked] });
    const again = changeOf(out.room, { stays: [staySample(2, { since: epoch + 1 })] });
    expect(await rooms.applyChange(added)).toBe(true);
    // Retry the addition until it wins: the kick's own cleanup then runs after it.
    const tidying = nodeOf(1).rooms.applyChange(out);
    while (!(await nodeOf(2).rooms.applyChange(again)));
    expect(await tidying).toBe(true);
    expect(await rooms.listRoomsOf(peer(2))).toHaveLength(1);
    const away = changeOf(again.room, { rekey: true, stays: [staySample(2, { since: epoch + 1, until: epoch + 2 })] });
    expect(await rooms.applyChange(away)).toBe(true);
    expect(await rooms.listRoomsOf(peer(2))).toEqual([]);
    room = { ...away.room, epoch: epoch + 1 };
  }
});

test("when all admins are revoked at once on several nodes, one stays", async () => {
  const rules = nodes.map(({ users, rooms }) => {
    return new UserRules({ store: users, rooms, notices: new Notices(undefined), now: Date.now });
  });
  for (const n of upTo(3)) await nodeOf(0).users.insertUser(userSample(n, { role: "admin" }));
  const { revision } = await nodeOf(0).users.getRoster();
  await nodeOf(0).users.replaceRoster({ admins: upTo(3).map(keySample), revision });
  const revoked = await winners(
    upTo(3).map((n) => rules[n]?.revoke(keySample(n), { keepAdmin: true }) ?? Promise.reject()),
  );
  expect(revoked).toHaveLength(2);
  const left = (await nodeOf(1).users.listUsers(null, 10)).filter(({ status }) => status === "active");
  expect((await nodeOf(2).users.getRoster()).admins).toEqual(left.map(({ signPub }) => signPub));
  expect(left).toHaveLength(1);
});

test("a nonce is accepted once, on any node, and then refused on all", async () => {
  const nonce = Buffer.alloc(16, 7).toString("base64");
  const claims = upTo(callers).map((n) => nodeOf(n).nonces.claim(nonce, keySample(n), Date.now()));
  const outcomes = await Promise.allSettled(claims);
  expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  for (const outcome of outcomes) {
    if (outcome.status === "fulfilled") continue;
    expect(outcome.reason).toMatchObject({ code: "unauthenticated", message: expect.stringContaining("already used") });
  }
});
