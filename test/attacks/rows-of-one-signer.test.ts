/**
 * One owner who signs changes in a loop. Rows count against the quota of their signer, tombstones of deleted rooms
 * included, and statements of a room are rate-limited; kicks and completed leaves always work. Runs over both stores,
 * SQLite and KV. Source: docs/protocol/limits.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { rowBytes } from "../../src/contracts/rows.ts";
import { RoomStore, UserStore } from "../../src/contracts/store.ts";
import { bootInProcess, type InProcess } from "../support/in-process.ts";
import {
  addBody,
  addMembers,
  at,
  call,
  createBody,
  createRoom,
  freshSubject,
  kickBody,
  leave,
  newRoom,
  type OwnRoom,
  policy,
  type Reply,
  roleBody,
  setRole,
} from "../support/peer.ts";

const limits = { rows_per_owner: 262_144, statements_per_minute: 20 } as const;
const crowdSize = 100;

/** Replaces the sealed keys with noise, which a server cannot distinguish from real ones. */
function noisy(made: { body: unknown; room: OwnRoom }, staying: readonly Identity[]): { body: unknown; room: OwnRoom } {
  const keys = staying.map(({ endpoint }) => ({ endpoint, sealed_key: randomBytes(80).toString("base64") }));
  return { ...made, body: { ...(made.body as object), keys } };
}

const outcome = ({ status, json }: Reply) => (status < 300 ? "done" : json.code);

for (const [store, flags] of [
  ["SQLite", {}],
  ["KV", { decentralized: true }],
] as const) {
  describe(`on ${store}`, () => {
    let running: InProcess;
    let base: string;
    beforeAll(async () => {
      running = await bootInProcess({ flags, settings: { rooms: limits } });
      base = running.bus.site.url();
    }, 60_000);
    afterAll(() => running[Symbol.asyncDispose]());

    async function user(): Promise<Identity> {
      const caller = await generateIdentity();
      const { signPubHex, endpoint, kexPubHex, kexSig } = caller;
      await running.bus.service(UserStore)?.insertUser({
        ...{ signPub: signPubHex, endpoint, kexPub: kexPubHex, kexSig, handle: "someone", role: "member" },
        ...{ status: "active", createdAt: 1, revokedAt: null, revision: 0 },
      });
      return caller;
    }

    test("rows stop at the quota of their signer; kicks and completed leaves do not", async () => {
      const [eve, ana] = [await user(), await user()];
      const crowd = await Promise.all(Array.from({ length: crowdSize }, user));
      const [first, second, third] = crowd as [Identity, Identity, Identity];
      const rooms = running.bus.service(RoomStore);
      if (rooms === undefined) throw new Error("no store");
      let room = await addMembers(running.server, await createRoom(running.server, eve, policy("encrypt")), ...crowd);
      const { roomId } = room.state;
      room = await setRole(running.server, room, first, "owner");
      const rekey = (of: OwnRoom, gone: readonly Identity[], staying: readonly Identity[]) =>
        noisy(kickBody(of, gone, []), staying);

      let next = rekey(room, [], [eve, ...crowd]);
      let reply = await call(base, eve, "POST", at(room, "/rekey"), next.body);
      for (let n = 0; outcome(reply) === "done" && n < 50; n++) {
        room = next.room;
        next = rekey(room, [], [eve, ...crowd]);
        reply = await call(base, eve, "POST", at(room, "/rekey"), next.body);
      }
      expect(outcome(reply)).toBe("quota");
      expect(reply.json.error).toMatch(/rooms\.rows_per_owner \(262144 bytes .*\) \(delete a room, or ask an admin/);
      const used = await rooms.rowBytesOf(eve.endpoint);
      expect(used).toBeLessThanOrEqual(limits.rows_per_owner);
      expect(used).toBeGreaterThan(limits.rows_per_owner - crowdSize * rowBytes.key - 2_000);

      // Fills the rest of the quota with small rows.
      for (let n = 0; n < 100; n++) {
        const small = createBody(newRoom(eve, freshSubject(), policy()));
        if (outcome(await call(base, eve, "POST", "/rooms", small)) !== "done") break;
      }
      const adding = addBody(room, ana);
      const role = roleBody(room, second, "owner");
      const refused = [
        await call(base, eve, "POST", "/rooms", createBody(newRoom(eve, freshSubject(), policy()))),
        await call(base, eve, "POST", at(room, "/members"), adding.body),
        await call(base, eve, "POST", at(room, "/rekey"), next.body),
        await call(base, eve, "PUT", at(room, `/members/${second.endpoint}/role`), role.body),
      ];
      expect(refused.map(outcome)).toEqual(["quota", "quota", "quota", "quota"]);

      // Removals still take effect: the store first drops keys that no member can read any more.
      expect(await rooms.getSealedKey(roomId, third.endpoint, 2)).not.toBeNull();
      const staying = crowd.slice(3);
      const kicking = rekey(room, [third], [eve, first, second, ...staying]);
      const kicked = await call(base, eve, "DELETE", at(room, `/members/${third.endpoint}`), kicking.body);
      expect([kicked.status, kicked.text]).toEqual([204, ""]);
      room = kicking.room;
      expect((await call(base, third, "GET", at(room))).status).toBe(403);
      expect((await leave(running.server, room, second)).status).toBe(204);
      const completing = rekey(room, [second], [eve, first, ...staying]);
      const completed = await call(base, eve, "POST", at(room, "/rekey"), completing.body);
      expect([completed.status, completed.json.version]).toEqual([200, completing.room.state.version]);
      room = completing.room;
      for (const epoch of [1, 2]) expect(await rooms.getSealedKey(roomId, third.endpoint, epoch)).toBeNull();
      expect(await rooms.getSealedKey(roomId, first.endpoint, 2)).not.toBeNull();

      // The signer pays, regardless of the sender: another owner can still make changes.
      expect(await rooms.rowBytesOf(first.endpoint)).toBe(0);
      const byFirst = { ...room, owner: first };
      const other = rekey(byFirst, [], [eve, first, ...staying]);
      expect(outcome(await call(base, eve, "POST", at(room, "/rekey"), other.body))).toBe("done");
      expect(await rooms.rowBytesOf(first.endpoint)).toBeGreaterThan(staying.length * rowBytes.key);
      expect(await rooms.rowBytesOf(eve.endpoint)).toBeGreaterThan(limits.rows_per_owner);

      // Deleting a room releases quota.
      expect((await call(base, eve, "DELETE", at(room))).status).toBe(204);
      const fresh = createBody(newRoom(eve, freshSubject(), policy()));
      expect(outcome(await call(base, eve, "POST", "/rooms", fresh))).toBe("done");
    }, 120_000);

    test("rooms that are created and deleted in a loop are charged for their tombstones", async () => {
      const eve = await user();
      for (let n = 0; n < 5; n++) {
        const room = await createRoom(running.server, eve, policy());
        expect((await call(base, eve, "DELETE", at(room))).status).toBe(204);
      }
      expect(await running.bus.service(RoomStore)?.rowBytesOf(eve.endpoint)).toBe(5 * rowBytes.room);
    }, 60_000);

    test("statements of a room stop at its pace; a kick does not wait", async () => {
      const [eve, ana, bob] = [await user(), await user(), await user()];
      let room = await addMembers(running.server, await createRoom(running.server, eve, policy()), ana, bob);
      // The first statement creates the room and is not counted.
      for (let n = 1; n < limits.statements_per_minute; n++) {
        room = await setRole(running.server, room, ana, n % 2 === 1 ? "owner" : "member");
      }
      const role = roleBody(room, bob, "owner");
      const refused = await call(base, eve, "PUT", at(room, `/members/${bob.endpoint}/role`), role.body);
      expect([refused.status, refused.json.code]).toEqual([429, "quota"]);
      expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
      const rekeyed = await call(base, eve, "POST", at(room, "/rekey"), kickBody(room, [], []).body);
      expect(rekeyed.status).toBe(429);
      const kicking = kickBody(room, [bob], [eve, ana]);
      expect((await call(base, eve, "DELETE", at(room, `/members/${bob.endpoint}`), kicking.body)).status).toBe(204);
      const other = await createRoom(running.server, eve, policy());
      await addMembers(running.server, other, bob);
    }, 60_000);
  });
}
