/**
 * Changes to existing rooms over HTTP: kick, leave, rekey, role and delete, with the races between them, and which
 * members receive which notice. Invariant: the last owner can neither leave nor be demoted.
 * Source: docs/protocol/rooms.md, docs/reference/http.md, docs/protocol/notices.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { ownersMax } from "../../src/wire/statement.ts";
import { Server, until } from "../support/executable.ts";
import { type Cast, castOf, inside, streamState } from "../support/inside.ts";
import {
  addBody,
  addMembers,
  at,
  call,
  createRoom,
  dial,
  freshSubject,
  kick,
  kickBody,
  leave,
  newRoom,
  noticesOf,
  type OwnRoom,
  policy,
  postUser,
  type Reply,
  roleBody,
  setRole,
} from "../support/peer.ts";

let server: Server;
let people: Cast<"ana" | "bob" | "cleo" | "dan">;

beforeAll(async () => {
  // The role test creates a hundred owners in less than two minutes.
  const settings = ["http.rate=100000", "rooms.statements_per_minute=0"];
  server = await Server.start({ args: settings.flatMap((one) => ["--set", one]) });
  people = await castOf(server, "ana", "bob", "cleo", "dan");
});
afterAll(() => server[Symbol.asyncDispose]());

const ask = (caller: Identity, method: string, target: string, body?: unknown): Promise<Reply> =>
  call(server.ready.http, caller, method, target, body);
const memberAt = (room: OwnRoom, caller: Identity, part = "") => at(room, `/members/${caller.endpoint}${part}`);
const roomOf = async (...members: Identity[]): Promise<OwnRoom> =>
  addMembers(server, await createRoom(server, people.ana, policy("encrypt")), ...members);

/** The fields of a room that change, as a member sees them. */
async function view(caller: Identity, room: OwnRoom) {
  const { status, json } = await ask(caller, "GET", at(room));
  return { status, version: json.version, epoch: json.epoch, pending: json.rekey_pending, role: json.role };
}

type Line = { endpoint: string; role: string; since: number; until: number; left: boolean };
async function line(caller: Identity, room: OwnRoom, of: Identity): Promise<Line[]> {
  const { json } = await ask(caller, "GET", at(room, "/members"));
  return (json.members as Line[]).filter(({ endpoint }) => endpoint === of.endpoint);
}

const signedOut = (room: OwnRoom, gone: readonly Identity[], staying: readonly Identity[]) => {
  const { body, room: next } = kickBody(room, gone, staying);
  return { body, next, post: () => ask(room.owner, "POST", at(room, "/rekey"), body) };
};

describe("a kick", () => {
  test("is one step: the member is out, the epoch and the key are new, and old keys stay readable", async () => {
    const { ana, bob, cleo } = people;
    let room = await roomOf(bob, cleo);
    room = await kick(server, room, bob, ana, cleo);
    expect(await view(cleo, room)).toEqual({ status: 200, version: 3, epoch: 2, pending: false, role: "member" });
    expect((await view(bob, room)).status).toBe(403);
    expect(await line(ana, room, bob)).toMatchObject([{ since: 1, until: 2, left: false }]);
    for (const epoch of [1, 2]) {
      expect((await ask(cleo, "GET", at(room, `/key?epoch=${epoch}`))).json).toMatchObject({ epoch });
      expect((await ask(bob, "GET", at(room, `/key?epoch=${epoch}`))).status).toBe(403);
    }
    expect((await ask(bob, "GET", `/members/${bob.endpoint}/rooms`)).text).not.toContain(room.state.roomId);

    // Adding the member again creates a second stay, with only the keys from then on.
    room = await addMembers(server, room, bob);
    expect(await line(ana, room, bob)).toMatchObject([
      { since: 1, until: 2 },
      { since: 2, until: 0 },
    ]);
    expect((await ask(bob, "GET", at(room, "/key"))).json).toMatchObject({ epoch: 2 });
  });

  test("needs a key for exactly the remaining members, a new key_check, an owner, a member and the next version", async () => {
    const { ana, bob, cleo, dan } = people;
    const room = await roomOf(bob, cleo);
    const target = memberAt(room, bob);
    const { body } = kickBody(room, [bob], [ana, cleo]);
    const keys = body.keys as unknown[];
    const of = (version: number) => ({ ...room, state: { ...room.state, version } });
    const wrong: readonly (readonly [unknown, number])[] = [
      [kickBody(room, [bob], [ana]).body, 400],
      [kickBody(room, [bob], [ana, cleo, bob]).body, 400],
      [kickBody(room, [bob], [ana, cleo, dan]).body, 400],
      [{ ...body, keys: [...keys, keys[0]] }, 400],
      [{ statement: body.statement }, 400],
      [kickBody(room, [], [ana, bob, cleo]).body, 400],
      [kickBody(of(7), [bob], [ana, cleo]).body, 409],
      [kickBody(of(1), [bob], [ana, cleo]).body, 409],
      [undefined, 400],
    ];
    for (const [index, [given, status]] of wrong.entries()) {
      expect([index, (await ask(ana, "DELETE", target, given)).status]).toEqual([index, status]);
    }
    expect((await ask(cleo, "DELETE", target, body)).status).toBe(403);
    expect((await ask(dan, "DELETE", target, body)).status).toBe(403);
    expect((await ask(ana, "DELETE", memberAt(room, dan), kickBody(room, [dan], [ana, bob, cleo]).body)).status).toBe(
      404,
    );
    const forged = kickBody({ ...room, owner: cleo }, [bob], [ana, cleo]).body;
    expect((await ask(ana, "DELETE", target, forged)).status).toBe(403);
    expect(await view(bob, room)).toMatchObject({ status: 200, version: 2, epoch: 1 });
    expect((await ask(ana, "DELETE", target, body)).status).toBe(204);
  });

  test("from an unencrypted room has no keys", async () => {
    const { ana, bob } = people;
    const room = await addMembers(server, await createRoom(server, ana, policy()), bob);
    const { body } = kickBody(room, [bob], [ana]);
    const sealed_key = Buffer.alloc(80).toString("base64");
    const withKeys = { ...body, keys: [{ endpoint: ana.endpoint, sealed_key }] };
    expect((await ask(ana, "DELETE", memberAt(room, bob), withKeys)).status).toBe(400);
    expect((await ask(ana, "DELETE", memberAt(room, bob), { ...body, keys: [] })).status).toBe(204);
  });

  test("can remove an owner, but never the last one", async () => {
    const { ana, bob } = people;
    const room = await setRole(server, await roomOf(bob), bob, "owner");
    const self = kickBody(room, [ana], [bob]).body;
    expect((await ask(ana, "DELETE", memberAt(room, ana), self)).status).toBe(204);
    expect(await view(bob, room)).toMatchObject({ role: "owner", version: 4, epoch: 2 });
    const alone: OwnRoom = { ...kickBody(room, [ana], [bob]).room, owner: bob };
    const last = await ask(bob, "DELETE", memberAt(room, bob), kickBody(alone, [bob], []).body);
    expect(last.status).not.toBe(204);
    expect((await view(bob, room)).status).toBe(200);
  });
});

describe("a leave", () => {
  test("takes effect at once, and the room is rekey_pending until an owner signs the member out", async () => {
    const { ana, bob, cleo } = people;
    const room = await roomOf(bob, cleo);
    expect((await leave(server, room, bob)).status).toBe(204);
    expect((await view(bob, room)).status).toBe(403);
    expect(await view(ana, room)).toMatchObject({ version: 2, epoch: 1, pending: true });
    expect(await line(ana, room, bob)).toMatchObject([{ since: 1, until: 0, left: true }]);
    const mine = await ask(ana, "GET", `/members/${ana.endpoint}/rooms`);
    expect(mine.json).toContainEqual(expect.objectContaining({ room_id: room.state.roomId, rekey_pending: true }));
    // Only signing out removes a departed member: an add does not, and the member cannot be added again until then.
    expect((await ask(ana, "POST", at(room, "/members"), addBody(room, bob).body)).status).toBe(409);
    expect((await ask(bob, "DELETE", memberAt(room, bob))).status).toBe(403);

    // This change was prepared before the leave, so it conflicts.
    const unknowing = signedOut(room, [], [ana, bob, cleo]);
    expect((await unknowing.post()).status).toBe(409);
    const knowing = signedOut(room, [bob], [ana, cleo]);
    expect((await knowing.post()).json).toEqual({ version: 3 });
    expect(await view(ana, room)).toMatchObject({ version: 3, epoch: 2, pending: false });
    expect(await line(ana, room, bob)).toMatchObject([{ since: 1, until: 2 }]);
    expect(await line(ana, await addMembers(server, knowing.next, bob), bob)).toHaveLength(2);
  });

  test("of another member causes a conflict for a kick that was prepared before it", async () => {
    const { ana, bob, cleo, dan } = people;
    const room = await roomOf(bob, cleo, dan);
    const { body } = kickBody(room, [bob], [ana, cleo, dan]);
    expect((await leave(server, room, cleo)).status).toBe(204);
    expect((await ask(ana, "DELETE", memberAt(room, bob), body)).status).toBe(409);
    const both = kickBody(room, [bob, cleo], [ana, dan]).body;
    expect((await ask(ana, "DELETE", memberAt(room, bob), both)).status).toBe(204);
    expect(await view(dan, room)).toMatchObject({ version: 3, epoch: 2, pending: false });
  });

  test("is possible for oneself only, and not for the last owner", async () => {
    const { ana, bob, cleo } = people;
    const room = await roomOf(bob, cleo);
    expect((await ask(bob, "DELETE", memberAt(room, cleo))).status).toBe(403);
    const last = await leave(server, room, ana);
    expect([last.status, last.json.code]).toEqual([409, "conflict"]);
    expect(await view(ana, room)).toMatchObject({ status: 200, pending: false });
  });

  test("of two last owners at once leaves one, in any combination", async () => {
    const { ana, bob, cleo } = people;
    for (let round = 0; round < 15; round++) {
      const room = await setRole(server, await roomOf(bob, cleo), bob, "owner");
      const demote = () =>
        ask(bob, "PUT", memberAt(room, bob, "/role"), roleBody({ ...room, owner: bob }, bob, "member").body);
      const kickAway = () =>
        ask(bob, "DELETE", memberAt(room, bob), kickBody({ ...room, owner: bob }, [bob], [ana, cleo]).body);
      const go = [() => leave(server, room, bob), demote, kickAway][round % 3] ?? demote;
      await Promise.all([leave(server, room, ana), go()]);
      const { json } = await ask(cleo, "GET", at(room, "/members"));
      const owners = (json.members as Line[]).filter((one) => one.role === "owner" && one.until === 0 && !one.left);
      expect([round, owners.length]).toEqual([round, 1]);
    }
  }, 20_000);
});

test("of twelve rekeys of one version exactly one wins, and its keys are stored", async () => {
  const { ana, bob } = people;
  const room = await roomOf(bob);
  const rekeys = Array.from({ length: 12 }, () => signedOut(room, [], [ana, bob]));
  const replies = await Promise.all(rekeys.map(({ post }) => post()));
  expect(replies.map(({ status }) => status).sort()).toEqual([200, ...Array(11).fill(409)]);
  const won = rekeys[replies.findIndex(({ status }) => status === 200)];
  const statements = (await ask(ana, "GET", at(room, "/statements"))).json.statements as { text: string }[];
  expect(statements).toHaveLength(3);
  expect(statements[2]?.text).toBe((won?.body.statement as { text: string } | undefined)?.text);
  const mine = ((won?.body.keys ?? []) as { endpoint: string; sealed_key: string }[]).find(
    (key) => key.endpoint === bob.endpoint,
  );
  expect((await ask(bob, "GET", at(room, "/key"))).json).toEqual({ epoch: 2, sealed_key: mine?.sealed_key });
});

describe("a role", () => {
  test("is changed by owners, with a statement, and the last owner stays owner", async () => {
    const { ana, bob, cleo, dan } = people;
    let room = await roomOf(bob, cleo);
    const put = (by: Identity, of: Identity, body: unknown) => ask(by, "PUT", memberAt(room, of, "/role"), body);
    expect((await put(bob, bob, roleBody({ ...room, owner: bob }, bob, "owner").body)).status).toBe(403);
    expect((await put(ana, ana, roleBody(room, ana, "member").body)).status).toBeOneOf([400, 409]);
    expect((await put(ana, dan, roleBody(room, dan, "owner").body)).status).toBe(404);
    room = await setRole(server, room, bob, "owner");
    expect(await view(bob, room)).toMatchObject({ role: "owner", version: 3, epoch: 1 });
    // The new owner demotes the old one, who can change nothing from then on.
    room = await setRole(server, { ...room, owner: bob }, ana, "member");
    expect((await ask(ana, "POST", at(room, "/rekey"), kickBody(room, [], [ana, bob, cleo]).body)).status).toBe(403);
    expect((await signedOut(room, [], [ana, bob, cleo]).post()).status).toBe(200);
  });

  test("of owner is held by a hundred at most", async () => {
    const users = await Promise.all(
      Array.from({ length: ownersMax }, (_, index) => postUser(server, people.admin, `owner${index}`)),
    );
    let room = await addMembers(server, await createRoom(server, people.ana, policy()), ...users);
    const [last, ...others] = users;
    for (const user of others) room = await setRole(server, room, user, "owner");
    if (last === undefined) throw new Error("users");
    const one = await ask(people.ana, "PUT", memberAt(room, last, "/role"), roleBody(room, last, "owner").body);
    expect([one.status, one.json.code]).toEqual([429, "quota"]);
  }, 30_000);
});

describe("a deletion", () => {
  test("is possible for an owner or an admin, and removes everything of the room except its id", async () => {
    const { ana, bob, admin } = people;
    const bus = await inside(server);
    for (const by of [ana, admin]) {
      const made = await createRoom(server, ana, policy("encrypt", "persist"));
      const room = await addMembers(server, made, bob);
      expect((await ask(bob, "PUT", at(room, "/durable"))).status).toBe(200);
      expect((await ask(bob, "DELETE", at(room))).status).toBe(403);
      expect((await ask(by, "DELETE", at(room))).status).toBe(204);
      expect(await streamState(bus, room)).toBeNull();
      for (const part of ["", "/members", "/key", "/history", "/statements"]) {
        expect([part, (await ask(ana, "GET", at(room, part))).status]).toEqual([part, 410]);
      }
      const late = [leave(server, room, bob), signedOut(room, [], [ana, bob]).post(), ask(by, "DELETE", at(room))];
      for (const reply of await Promise.all(late)) expect(reply.status).toBe(410);
      const again = newRoom(ana, room.state.subject, policy());
      expect((await createRoom(server, ana, policy(), again.state.subject)).state.subject).toBe(room.state.subject);
    }
    await bus.close();
  });

  test("is the only thing that an admin can do to a room whose last owner is revoked", async () => {
    const { admin, bob } = people;
    const owner = await postUser(server, admin, "owner");
    const room = await addMembers(server, await createRoom(server, owner, policy("encrypt"), freshSubject()), bob);
    expect((await ask(admin, "POST", `/users/${owner.signPubHex}/revoke`)).status).toBe(204);
    expect((await ask(admin, "POST", at(room, "/rekey"), kickBody(room, [owner], [bob]).body)).status).toBe(403);
    expect(await view(bob, room)).toMatchObject({ status: 200, pending: true });
    expect((await ask(admin, "DELETE", at(room))).status).toBe(204);
  });
});

test("exactly the users concerned are notified", async () => {
  const { admin } = people;
  // Use fresh users: a notice that was collapsed for another test would reach the old ones.
  const [ana, bob, cleo, dora] = [
    await postUser(server, admin, "ana-notified"),
    await postUser(server, admin, "bob-notified"),
    await postUser(server, admin, "cleo-notified"),
    await postUser(server, admin, "dora"),
  ];
  const watched = async (caller: Identity) => {
    const connection = await dial(server, caller, { reconnect: true, reconnectTimeWait: 20, maxReconnectAttempts: -1 });
    return { connection, notices: await noticesOf(connection, caller) };
  };
  const all = {
    ana: await watched(ana),
    bob: await watched(bob),
    cleo: await watched(cleo),
    dora: await watched(dora),
  };
  const expectNotices = async (who: keyof typeof all, ...wanted: string[]) => {
    const { notices } = all[who];
    const due = () => wanted.every((notice) => notices.includes(notice));
    await until(`${who} is notified of ${wanted} (has ${notices})`, due, 5_000);
    expect([...notices].sort()).toEqual([...wanted].sort());
    notices.length = 0;
  };
  const side = await createRoom(server, bob, policy());
  const id = side.state.roomId;
  let room = await addMembers(server, side, ana, cleo, dora);
  for (const who of ["ana", "cleo", "dora"] as const) await expectNotices(who, `joined ${id}`, `accepted ${id}`);
  room = await setRole(server, room, ana, "owner");
  await expectNotices("ana", `role ${id}`);
  expect((await signedOut(room, [], []).post()).status).toBe(200);
  room = kickBody(room, [], []).room;
  for (const who of ["ana", "bob", "cleo", "dora"] as const) await expectNotices(who, `rekeyed ${id}`);
  // A leaving member is disconnected with the notice and may miss it; the room list after a reconnect is authoritative.
  expect((await leave(server, room, cleo)).status).toBe(204);
  await expectNotices("ana", `rekey_pending ${id}`);
  await expectNotices("bob", `rekey_pending ${id}`);
  const signing = signedOut(room, [cleo], []);
  expect((await signing.post()).status).toBe(200);
  for (const who of ["ana", "bob", "dora"] as const) await expectNotices(who, `rekeyed ${id}`);
  expect((await ask(admin, "POST", `/users/${dora.signPubHex}/revoke`)).status).toBe(204);
  for (const who of ["ana", "bob"] as const) await expectNotices(who, `rekey_pending ${id}`);
  await until("dora is disconnected", () => all.dora.connection.isClosed() || all.dora.notices.includes("revoked"));
  expect((await ask(bob, "DELETE", at(room))).status).toBe(204);
  await until(
    "bob is notified or disconnected",
    () => all.bob.notices.includes(`deleted ${id}`) || all.bob.connection.isClosed(),
    5_000,
  );
  expect(all.cleo.notices.every((notice) => notice === `removed ${id}`)).toBe(true);
  await Promise.all(Object.values(all).map(({ connection }) => connection.close()));
}, 20_000);
