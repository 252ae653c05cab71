/**
 * PUT /rooms/{id}/restore on both stores: an owner gives back versions that the bus lost. Covers missing and older
 * rooms, departures since the backup, subjects and ids that are taken, and contested chains.
 * Source: docs/protocol/rooms.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateIdentity, type Identity } from "../../../src/client/crypto/identity.ts";
import { RoomStore } from "../../../src/contracts/store.ts";
import { WayBackStore } from "../../../src/contracts/way-back.ts";
import { sha256Hex } from "../../../src/wire/encoding.ts";
import { until } from "../../support/executable.ts";
import { bootInProcess, type InProcess } from "../../support/in-process.ts";
import { call, createBody, dial, freshSubject, newRoom, policy, postUser, type Reply } from "../../support/peer.ts";
import { bring, openWayBack, restore, Story, usersOf } from "../../support/way-back.ts";

type Name = "ana" | "bob" | "cleo" | "dan" | "eve";

for (const [store, flags] of [
  ["sqlite", {}],
  ["kv", { decentralized: true }],
] as const) {
  describe(`a room on a restored server with the store ${store}`, () => {
    let running: InProcess;
    let people: Record<Name | "admin", Identity>;

    beforeAll(async () => {
      running = await bootInProcess({ flags, settings: { rooms: { per_user: 50 } } });
      people = await usersOf(running, "ana", "bob", "cleo", "dan", "eve");
      await openWayBack(running);
    }, 60_000);
    afterAll(() => running[Symbol.asyncDispose]());

    const ask = (caller: Identity, method: string, target: string, body?: unknown): Promise<Reply> =>
      call(running.server.ready.http, caller, method, target, body);
    const get = async (caller: Identity, { id }: Story, part = "") =>
      (await ask(caller, "GET", `/rooms/${id}${part}`)).json;
    const lines = async (caller: Identity, story: Story) => {
      const { members } = (await get(caller, story, "/members")) as { members: Record<string, unknown>[] };
      return new Map(members.map((line) => [`${line.endpoint} ${line.since}`, line]));
    };
    const opened = async (caller: Identity, story: Story, epoch: number) => {
      const { sealed_key } = (await get(caller, story, `/key?epoch=${epoch}`)) as { sealed_key?: string };
      return sealed_key === undefined ? null : caller.openRoomKey(sealed_key);
    };
    /** A room of ana with bob and cleo, in which cleo was kicked, dan was added, and bob became an owner. */
    const long = (rules = policy("encrypt")): Story => {
      const { ana, bob, cleo, dan } = people;
      const story = Story.of(ana, rules).add(ana, bob, cleo).rekey(ana, cleo).add(ana, dan);
      return story.role(ana, bob, "owner").rekey(bob);
    };

    test("that the server does not know is restored completely, with every key", async () => {
      const { ana, bob, cleo, dan } = people;
      const story = long(policy("encrypt", "persist"));
      expect(await bring(running, ana, story, 0)).toEqual({ version: 6 });
      expect(await get(bob, story)).toMatchObject({
        version: 6,
        epoch: 3,
        role: "owner",
        subject: story.state.subject,
      });
      const { statements } = (await get(dan, story, "/statements")) as { statements: { text: string }[] };
      expect(statements.map(({ text }) => text)).toEqual(story.versions.map(({ statement }) => statement.text));
      for (const epoch of [1, 2, 3]) expect(await opened(ana, story, epoch)).toEqual(story.keys.get(epoch) ?? null);
      expect(await opened(dan, story, 1)).toBeNull();
      expect(await opened(dan, story, 2)).toEqual(story.keys.get(2) ?? null);
      expect((await ask(cleo, "GET", `/rooms/${story.id}`)).status).toBe(403);
      expect((await lines(ana, story)).get(`${cleo.endpoint} 1`)).toMatchObject({ until: 2, left: false });
      // Afterwards the room works like any other: members can be added, and it has a history.
      const { body } = { body: story.add(bob, people.eve).statement(7) };
      const added = {
        members: [{ endpoint: people.eve.endpoint, ...withoutEpoch(story.sealed(people.eve.endpoint, 3)) }],
      };
      expect((await ask(bob, "POST", `/rooms/${story.id}/members`, { ...added, statement: body })).status).toBe(201);
      expect((await ask(dan, "GET", `/rooms/${story.id}/history`)).json).toMatchObject({ messages: [] });
    });

    test("that the server has at an older version gets the missing statements, from any owner", async () => {
      const { ana, bob, cleo, dan } = people;
      const story = long();
      await bring(running, ana, story, 0, 2);
      expect((await get(cleo, story)).version).toBe(2);
      expect(await bring(running, bob, story, 2)).toEqual({ version: 6 });
      expect((await ask(cleo, "GET", `/rooms/${story.id}`)).status).toBe(403);
      for (const epoch of [1, 2, 3]) expect(await opened(bob, story, epoch)).toEqual(story.keys.get(epoch) ?? null);
      expect(await opened(dan, story, 2)).toEqual(story.keys.get(2) ?? null);
      // The bus has all versions now, so the same base conflicts.
      const again = await restore(running, ana, story.id, story.body(ana, 2));
      expect(again).toMatchObject({ status: 409, json: { code: "conflict" } });
    });

    test("counts as unaccepted by the members it adds, the caller included; others keep their acceptance", async () => {
      const { ana, bob, dan } = people;
      const story = long();
      const first = newRoom(ana, story.state.subject, policy("encrypt"), story.id);
      expect((await ask(ana, "POST", "/rooms", createBody({ ...first, ...storyStart(story) }))).status).toBe(201);
      await bring(running, bob, story, 1);
      const rows = running.bus.service(RoomStore) as RoomStore;
      const stays = await Promise.all([ana, bob, dan].map(({ endpoint }) => rows.getStay(story.id, endpoint)));
      expect(stays.map((stay) => stay?.acceptedAt === null)).toEqual([false, true, true]);
      expect(stays[2]).toMatchObject({ addedBy: bob.endpoint });
    });

    test("can be restored by a later owner, because the error says which version the server has", async () => {
      const { ana, bob } = people;
      const story = long();
      await bring(running, ana, story, 0, 1);
      const blind = await restore(running, bob, story.id, story.body(bob, 0));
      expect(blind).toMatchObject({ status: 400, json: { code: "invalid" } });
      expect(blind.json.details).toEqual({ epoch: 1, lines: [[ana.endpoint, 1]] });
      const all = { ...story.body(bob, 1), statements: story.body(bob, 0).statements };
      expect((await restore(running, bob, story.id, all)).status).toBe(200);
    });

    test("accepts keys that its restorer could not have later, and replaces none", async () => {
      const { ana, bob, cleo } = people;
      const story = Story.of(ana).add(ana, cleo).rekey(ana).add(ana, bob).role(ana, bob, "owner").rekey(bob);
      await bring(running, bob, story, 0);
      expect(await opened(ana, story, 1)).toBeNull();
      expect(await opened(ana, story, 2)).toEqual(story.keys.get(2) ?? null);
      const other = Story.of(ana);
      other.keys.set(2, new Uint8Array(32).fill(7));
      other.people.set(cleo.endpoint, cleo);
      const wrong = {
        ...other.sealed(ana.endpoint, 1),
        epoch: 2,
        sealed_key: other.sealed(ana.endpoint, 2).sealed_key,
      };
      const body = { ...story.body(ana, 0), statements: [] as unknown[] };
      expect((await restore(running, ana, story.id, { ...body, keys: [...body.keys, wrong] })).status).toBe(200);
      for (const epoch of [1, 2, 3]) {
        expect(await opened(ana, story, epoch)).toEqual(story.keys.get(epoch) ?? null);
        expect(await opened(cleo, story, epoch)).toEqual(story.keys.get(epoch) ?? null);
      }
      const stranger = { ...wrong, endpoint: people.eve.endpoint };
      expect((await restore(running, ana, story.id, { ...body, keys: [stranger] })).status).toBe(400);
      const late = { ...wrong, epoch: 4 };
      expect((await restore(running, ana, story.id, { ...body, keys: [late] })).status).toBe(400);
      expect((await restore(running, ana, story.id, { ...body, members: body.members.slice(1) })).status).toBe(400);
      expect((await restore(running, cleo, story.id, body)).status).toBe(403);
    });

    test("marks as departed everyone who is inactive, had left, or was removed or left after the backup", async () => {
      const { ana, bob, cleo, dan, eve, admin } = people;
      const [gone, stranger] = [await postUser(running.server, admin, "gone"), await generateIdentity()];
      const story = Story.of(ana).add(ana, bob, cleo, dan, eve).add(ana, gone, stranger).rekey(ana);
      await bring(running, ana, story, 0, 2);
      expect((await ask(bob, "DELETE", `/rooms/${story.id}/members/${bob.endpoint}`)).status).toBe(204);
      expect((await ask(admin, "POST", `/users/${gone.signPubHex}/revoke`)).status).toBe(204);
      const denied = { roomId: story.id, endpoint: dan.endpoint, since: 1, leftAt: 5 };
      await running.bus.service(WayBackStore)?.denyStays([denied]);
      const body = story.body(ana, 2);
      const members = body.members.map((line) => ({ ...line, left: line.endpoint === cleo.endpoint }));
      expect((await restore(running, ana, story.id, { ...body, members })).status).toBe(200);
      const found = await lines(eve, story);
      const left = (caller: Identity) => found.get(`${caller.endpoint} 1`)?.left;
      expect([ana, bob, cleo, dan, eve, gone, stranger].map(left)).toEqual([
        false,
        true,
        true,
        true,
        false,
        true,
        true,
      ]);
      expect(found.get(`${stranger.endpoint} 1`)).toMatchObject({
        kex_sig: stranger.kexSig,
        kex_pub: stranger.kexPubHex,
      });
      expect((await get(ana, story)).rekey_pending).toBe(true);
      for (const caller of [bob, cleo, dan]) expect((await ask(caller, "GET", `/rooms/${story.id}`)).status).toBe(403);
    });

    test("disconnects its connected members, who then log in with the restored permissions", async () => {
      const { ana, bob, cleo, dan } = people;
      const story = long();
      await bring(running, ana, story, 0, 2);
      for (const caller of [bob, cleo]) await ask(caller, "PUT", `/rooms/${story.id}/accept`);
      const [stays, goes, other] = await Promise.all(
        [bob, cleo, dan].map((caller) => dial(running.server, caller, { reconnect: false })),
      );
      await bring(running, ana, story, 2);
      await until("both are disconnected", () => stays?.isClosed() === true && goes?.isClosed() === true);
      expect(other?.isClosed()).toBe(false);
      await other?.close();
    });

    test("cannot be restored while another room has its subject", async () => {
      const { ana, bob } = people;
      const story = long();
      const other = newRoom(bob, story.state.subject, policy("encrypt"));
      expect((await ask(bob, "POST", "/rooms", createBody(other))).status).toBe(201);
      expect(await restore(running, ana, story.id, story.body(ana, 0))).toMatchObject({
        status: 409,
        json: { code: "conflict", error: expect.stringContaining("belongs to another room") },
      });
      expect((await ask(bob, "DELETE", `/rooms/${other.state.roomId}`)).status).toBe(204);
      await bring(running, ana, story, 0);
      expect((await ask(ana, "DELETE", `/rooms/${story.id}`)).status).toBe(204);
      expect(await restore(running, ana, story.id, story.body(ana, 0))).toMatchObject({
        status: 410,
        json: { code: "gone" },
      });
    });

    test("whose chain diverges above the restored head is contested, until an admin chooses one", async () => {
      const { ana, bob, cleo, dan, admin } = people;
      const story = long();
      await bring(running, ana, story, 0, 2);
      await openWayBack(running);
      // Since the restore the room continued differently: cleo stayed, eve was added.
      const fork = story.at(2).rekey(ana).add(ana, people.eve);
      await bring(running, ana, fork, 2);
      for (const to of [3, 6]) {
        const offered = await restore(running, to === 3 ? ana : bob, story.id, story.body(to === 3 ? ana : bob, 2, to));
        expect(offered).toMatchObject({ status: 409, json: { code: "contested" } });
        const [yours, bus] = [sha256Hex(story.statement(to).text), sha256Hex(fork.statement(4).text)];
        for (const part of [yours, bus, ana.signPubHex]) expect(offered.json.error).toContain(part);
      }
      expect((await get(cleo, story)).version).toBe(4);
      expect((await ask(bob, "GET", "/way-back")).status).toBe(403);
      const report = async () => {
        const { contested, open } = (await ask(admin, "GET", "/way-back")).json as {
          open: boolean;
          contested: { room_id: string; version: number; taken: boolean; by: string }[];
        };
        expect(open).toBe(true);
        return contested.filter(({ room_id }) => room_id === story.id).sort((a, b) => a.version - b.version);
      };
      expect(await report()).toMatchObject([
        { version: 3, by: ana.signPubHex, taken: false },
        { version: 6, by: bob.signPubHex, taken: false },
      ]);
      const hash = sha256Hex(story.statement(6).text);
      const take = (caller: Identity) => ask(caller, "PUT", `/rooms/${story.id}/way-back`, { hash });
      expect((await take(bob)).status).toBe(403);
      expect((await take(admin)).status).toBe(204);
      expect(await report()).toMatchObject([{ taken: false }, { taken: true }]);
      expect((await restore(running, ana, story.id, story.body(ana, 2, 3))).status).toBe(409);
      const body = story.body(bob, 2);
      expect((await restore(running, bob, story.id, body)).status).toBe(200);
      expect((await ask(cleo, "GET", `/rooms/${story.id}`)).status).toBe(403);
      expect((await ask(people.eve, "GET", `/rooms/${story.id}`)).status).toBe(403);
      for (const epoch of [1, 2, 3]) expect(await opened(ana, story, epoch)).toEqual(story.keys.get(epoch) ?? null);
      expect((await get(dan, story)).version).toBe(6);
      // Now the other chain is the contested one.
      expect((await restore(running, ana, story.id, fork.body(ana, 2))).json.code).toBe("contested");
    });

    test("whose id now belongs to another room replaces it once an admin has chosen it", async () => {
      const { ana, bob, dan, eve, admin } = people;
      const story = long(policy("encrypt", "persist"));
      const forged = Story.of(eve, policy("persist"), freshSubject(), story.id).add(eve, dan);
      await bring(running, eve, forged, 0);
      const offered = await restore(running, bob, story.id, story.body(bob, 0));
      expect(offered).toMatchObject({ status: 409, json: { code: "contested" } });
      const hash = sha256Hex(story.statement(6).text);
      expect((await ask(admin, "PUT", `/rooms/${story.id}/way-back`, { hash })).status).toBe(204);
      await bring(running, bob, story, 0);
      expect(await get(dan, story)).toMatchObject({
        subject: story.state.subject,
        policy: { encrypt: true },
        version: 6,
      });
      expect((await ask(eve, "GET", `/rooms/${story.id}`)).status).toBe(403);
      expect((await ask(ana, "GET", `/rooms/${story.id}/history`)).status).toBe(200);
      expect(await opened(dan, story, 2)).toEqual(story.keys.get(2) ?? null);
      const heir = newRoom(eve, forged.state.subject, policy("encrypt"));
      expect((await ask(eve, "POST", "/rooms", createBody(heir))).status).toBe(201);
    });
  });
}

const withoutEpoch = ({ sealed_key }: { readonly sealed_key: string }) => ({ sealed_key });

/** The first version of a story, as the body of POST /rooms. */
function storyStart(story: Story) {
  const state = story.versions[0]?.state as Story["state"];
  return { state, key: story.keys.get(1) ?? null };
}
