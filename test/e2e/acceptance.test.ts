/**
 * A membership takes effect on the data plane once its member has accepted it, and the permissions of a login are
 * bounded. Unaccepted rooms change neither the permissions nor the connection.
 * Source: docs/reference/http.md, docs/protocol/limits.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { connect } from "../../src/client/index.ts";
import { Server, until } from "../support/executable.ts";
import { type Cast, castOf, inside } from "../support/inside.ts";
import {
  acceptRoom,
  addBody,
  addMembers,
  at,
  call,
  createRoom,
  dial,
  freshSubject,
  history,
  inviteMembers,
  kick,
  leave,
  noticesOf,
  type OwnRoom,
  policy,
  postUser,
  refusalsOf,
  setRole,
} from "../support/peer.ts";
import { pub, rawPeer } from "../support/raw-nats.ts";

interface Listed {
  readonly room_id: string;
  readonly accepted: boolean;
  readonly live: boolean;
  readonly added_by: string | null;
}

let server: Server;
let people: Cast<"ana" | "bob" | "cleo" | "dora">;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=1000000", "--set", "rooms.per_user=5000"] });
  people = await castOf(server, "ana", "bob", "cleo", "dora");
});
afterAll(() => server[Symbol.asyncDispose]());

const accept = (caller: Identity, room: OwnRoom) => call(server.ready.http, caller, "PUT", at(room, "/accept"));

async function listOf(caller: Identity, query = ""): Promise<Listed[]> {
  const reply = await call(server.ready.http, caller, "GET", `/members/${caller.endpoint}/rooms${query}`);
  if (reply.status !== 200) throw new Error(`GET rooms: ${reply.status} ${reply.text}`);
  return reply.json as unknown as Listed[];
}

const entryOf = async (caller: Identity, room: OwnRoom): Promise<Listed | undefined> =>
  (await listOf(caller)).find(({ room_id }) => room_id === room.state.roomId);

const roomWith = async (...members: Identity[]): Promise<OwnRoom> =>
  members.length === 0
    ? createRoom(server, people.ana, policy("persist"))
    : inviteMembers(server, await createRoom(server, people.ana, policy("persist")), ...members);

/** Starts counting the logins of a peer. */
async function loginsOf(caller: Identity): Promise<{ readonly count: () => number; stop(): Promise<void> }> {
  const system = await inside(server, "SYS");
  let count = 0;
  system.subscribe("$SYS.ACCOUNT.PEERS.CONNECT", {
    callback: (_, message) => {
      if (message.json<{ client: { user?: string } }>().client.user?.startsWith(caller.endpoint)) count += 1;
    },
  });
  await system.flush();
  return { count: () => count, stop: () => system.close() };
}

describe("PUT /rooms/{id}/accept", () => {
  test("accepts once, notifies the member's devices, and repeats the answer", async () => {
    const room = await roomWith(people.bob);
    expect(await entryOf(people.bob, room)).toMatchObject({
      ...{ accepted: false, live: false, added_by: people.ana.endpoint },
    });
    const device = await dial(server, people.bob);
    const notices = await noticesOf(device, people.bob);
    for (let n = 0; n < 3; n++) expect((await accept(people.bob, room)).status).toBe(204);
    expect(await entryOf(people.bob, room)).toMatchObject({ accepted: true, live: true });
    await until("the notice arrived", () => notices.includes(`accepted ${room.state.roomId}`));
    // The next notice follows directly: there is no second `accepted` between the two.
    await setRole(server, room, people.bob, "owner");
    await until("the next notice arrived", () => notices.includes(`role ${room.state.roomId}`));
    expect(notices).toEqual([`accepted ${room.state.roomId}`, `role ${room.state.roomId}`]);
    await device.close();
  });

  test("is refused after a leave or kick, for strangers, and without a room; a new stay needs a new acceptance", async () => {
    const left = await roomWith(people.bob, people.cleo);
    await acceptRoom(server, left, people.bob);
    expect((await leave(server, left, people.bob)).status).toBe(204);
    expect((await accept(people.bob, left)).json).toMatchObject({ code: "forbidden" });
    const kicked = await kick(server, left, people.bob, people.ana, people.cleo);
    expect((await accept(people.bob, kicked)).status).toBe(403);
    expect((await accept(people.dora, kicked)).status).toBe(403);
    const again = await inviteMembers(server, kicked, people.bob);
    expect(await entryOf(people.bob, again)).toMatchObject({ accepted: false, live: false });
    expect((await accept(people.bob, again)).status).toBe(204);
    expect(await entryOf(people.bob, again)).toMatchObject({ accepted: true, live: true });

    expect((await call(server.ready.http, people.bob, "PUT", `/rooms/${"0".repeat(26)}/accept`)).status).toBe(404);
    expect((await call(server.ready.http, people.ana, "DELETE", at(again))).status).toBe(204);
    expect((await accept(people.bob, again)).status).toBe(410);
  });

  test("is not needed for the creator of a room", async () => {
    const room = await roomWith();
    expect(await entryOf(people.ana, room)).toMatchObject({
      accepted: true,
      live: true,
      added_by: people.ana.endpoint,
    });
  });
});

describe("the list of a user's rooms", () => {
  test("names the signer of the statement that added the user, not the user who sent it", async () => {
    const room = await setRole(server, await addMembers(server, await roomWith(), people.bob), people.bob, "owner");
    const { body } = addBody({ ...room, owner: people.bob }, people.cleo);
    expect((await call(server.ready.http, people.ana, "POST", at(room, "/members"), body)).status).toBe(201);
    expect(await entryOf(people.cleo, room)).toMatchObject({ added_by: people.bob.endpoint, accepted: false });
  });

  test("has pages by room id, also when filtered to accepted or unaccepted rooms", async () => {
    const caller = await postUser(server, people.admin, "pages");
    const rooms: OwnRoom[] = [];
    for (let n = 0; n < 7; n++) rooms.push(await roomWith(caller));
    const ids = rooms.map(({ state }) => state.roomId).sort();
    for (const room of rooms.slice(0, 3)) await acceptRoom(server, room, caller);
    const idsOf = async (query: string) => (await listOf(caller, query)).map(({ room_id }) => room_id);
    expect(await idsOf("")).toEqual(ids);
    expect(await idsOf("?limit=3")).toEqual(ids.slice(0, 3));
    expect(await idsOf(`?limit=3&after=${ids[2]}`)).toEqual(ids.slice(3, 6));
    expect(await idsOf(`?limit=3&after=${ids[5]}`)).toEqual(ids.slice(6));
    expect(await idsOf(`?after=${ids[6]}`)).toEqual([]);
    const accepted = rooms.slice(0, 3).map(({ state }) => state.roomId);
    expect(await idsOf("?accepted=true")).toEqual(accepted.sort());
    expect((await idsOf("?accepted=false")).length).toBe(4);
    expect((await listOf(caller, "?accepted=true&limit=1"))[0]).toMatchObject({ accepted: true, live: true });
    for (const query of ["?limit=0", "?limit=1001", "?after=x", "?accepted=maybe"]) {
      const reply = await call(server.ready.http, caller, "GET", `/members/${caller.endpoint}/rooms${query}`);
      expect([query, reply.status]).toEqual([query, 400]);
    }
  });
});

describe("a room that is not accepted", () => {
  test("can be read, and grants nothing on the data plane until it is accepted", async () => {
    const room = await roomWith(people.bob);
    for (const part of ["", "/members", "/statements", "/history"]) {
      expect((await call(server.ready.http, people.bob, "GET", at(room, part))).status).toBe(200);
    }
    expect(await entryOf(people.bob, room)).toMatchObject({ accepted: false });
    using early = await rawPeer(server.ready.nats, people.bob);
    const sub = `SUB ${room.state.subject} 1\r\n`;
    expect(await early.exchange(sub)).toContain("Permissions Violation for Subscription");
    expect(await early.exchange(pub(room.state.subject, "x"))).toContain("Permissions Violation for Publish");
    const durable = await call(server.ready.http, people.bob, "PUT", at(room, "/durable"));
    expect([durable.status, durable.json.code]).toEqual([409, "conflict"]);
    expect(await history(server, people.ana, room)).toEqual([]);

    await acceptRoom(server, room, people.bob);
    using late = await rawPeer(server.ready.nats, people.bob);
    expect(await late.exchange(sub, pub(room.state.subject, "now"))).toContain("now");
    expect((await call(server.ready.http, people.bob, "PUT", at(room, "/durable"))).status).toBe(200);
    // The older connection stays open, with its old permissions.
    expect(early.isClosed).toBe(false);
  });

  test("disconnects no user and causes no login when it is created, deleted or kicks the user", async () => {
    const caller = await postUser(server, people.admin, "bystander");
    const bus = await connect({ url: server.ready.http, identity: caller, state: "memory" });
    const mine = await bus.createRoom(freshSubject(), "nats");
    const got: string[] = [];
    await mine.onMessage(({ text }) => got.push(text));
    const logins = await loginsOf(caller);
    for (let n = 0; n < 5; n++) {
      const kicked = await roomWith(caller);
      await kick(server, kicked, caller, people.ana);
      const deleted = await roomWith(caller);
      expect((await call(server.ready.http, people.ana, "DELETE", at(deleted))).status).toBe(204);
      await roomWith(caller);
    }
    // Notices come once per second; wait until the last one must have arrived.
    const watching = await dial(server, caller);
    const notices = await noticesOf(watching, caller);
    await until("the last notices arrived", () => notices.length > 0);
    await mine.send("still here");
    await until("the message is received", () => got.includes("still here"));
    expect(logins.count()).toBe(1);
    await Promise.all([logins.stop(), watching.close(), bus.close()]);
  }, 30_000);

  test("causes at most one notice a second, however many rooms there are", async () => {
    const caller = await postUser(server, people.admin, "often-added");
    const device = await dial(server, caller);
    const notices = await noticesOf(device, caller);
    const began = performance.now();
    const rooms = await Promise.all(Array.from({ length: 40 }, () => createRoom(server, people.ana, policy())));
    for (const room of rooms) await inviteMembers(server, room, caller);
    await until("a notice for several rooms arrived", () => notices.includes("joined"));
    const seconds = (performance.now() - began) / 1_000;
    expect(notices.length).toBeLessThanOrEqual(Math.ceil(seconds) + 1);
    await device.close();
  }, 30_000);
});

describe("the permissions of a member of very many rooms", () => {
  const long = (n: number): string => freshSubject().padEnd(195, "x") + String(n).padStart(5, "0");

  test("cover the rooms that were accepted first; leaving one makes room for another", async () => {
    const caller = await postUser(server, people.admin, "everywhere");
    const adder = await postUser(server, people.admin, "adder of all");
    const own = await createRoom(server, caller, policy());
    const invited = (n: number) =>
      createRoom(server, adder, policy(), long(n)).then((r) => inviteMembers(server, r, caller));
    // Offered first and accepted last: the order of acceptance counts.
    const late = await invited(0);
    const first = await addMembers(server, await createRoom(server, adder, policy(), long(1)), caller);
    const rooms = [first];
    // The creator of a room has accepted it.
    for (let n = 2; n < 1_050; n++) rooms.push(await createRoom(server, caller, policy(), long(n)));
    const last = await invited(1_050);
    await acceptRoom(server, last, caller);
    await acceptRoom(server, late, caller);
    rooms.push(last, late);
    const entries = new Map<string, Listed>();
    for (let after = ""; ; ) {
      const page = await listOf(caller, after);
      for (const entry of page) entries.set(entry.room_id, entry);
      if (page.length < 1_000) break;
      after = `?after=${page.at(-1)?.room_id}`;
    }
    const isLive = ({ state }: OwnRoom) => entries.get(state.roomId)?.live;
    expect(entries.size).toBe(rooms.length + 1);
    expect([...entries.values()].every(({ accepted }) => accepted)).toBe(true);
    expect([own, first, last, late].map(isLive)).toEqual([true, true, false, false]);
    const live = rooms.filter(isLive);
    expect(rooms.slice(0, live.length)).toEqual(live);
    // The publish and the subscribe list both contain each 200-character subject, with quotes and a comma.
    expect(live.length).toBeGreaterThan(Math.floor((400 * 1_024) / 406) - 2);

    using peer = await rawPeer(server.ready.nats, caller);
    const allowed = [own, first, live.at(-1) ?? first];
    for (const { state } of allowed) expect(await peer.exchange(`SUB ${state.subject} 1\r\n`)).not.toContain("-ERR");
    expect(await peer.exchange(`SUB ${last.state.subject} 2\r\n`)).toContain("Permissions Violation");

    expect((await leave(server, first, caller)).status).toBe(204);
    const next = rooms[live.length];
    if (next === undefined) throw new Error("no room waits");
    expect(await entryOfPage(caller, next)).toMatchObject({ live: true });

    // The client reports the cause itself instead of passing on a NATS permission error.
    await using bus = await connect({ url: server.ready.http, identity: caller, state: "memory" });
    const over = await bus.room(last.state.roomId);
    await expect(over.send("x")).rejects.toMatchObject({ code: "quota" });
  }, 120_000);

  async function entryOfPage(caller: Identity, { state }: OwnRoom): Promise<Listed | undefined> {
    const all = [
      ...(await listOf(caller)),
      ...(await listOf(caller, `?after=${(await listOf(caller)).at(-1)?.room_id}`)),
    ];
    return all.find(({ room_id }) => room_id === state.roomId);
  }
});

describe("one adder", () => {
  test("has at most 100 unaccepted memberships with one user; other users can still add, and answers free places", async () => {
    const [adder, other, caller] = await Promise.all(
      ["adder", "other", "victim"].map((name) => postUser(server, people.admin, name)),
    );
    if (!adder || !other || !caller) throw new Error("users");
    const invite = async (by: Identity) => {
      const room = await createRoom(server, by, policy());
      return {
        room,
        reply: await call(server.ready.http, by, "POST", at(room, "/members"), addBody(room, caller).body),
      };
    };
    const rooms: OwnRoom[] = [];
    for (let n = 0; n < 100; n++) {
      const { room, reply } = await invite(adder);
      expect(reply.status).toBe(201);
      rooms.push(room);
    }
    const refused = await invite(adder);
    expect([refused.reply.status, refused.reply.json.code]).toEqual([429, "quota"]);
    expect(String(refused.reply.json.error)).toContain(caller.endpoint);
    expect((await invite(other)).reply.status).toBe(201);

    const [accepted, left, deleted] = rooms;
    if (!accepted || !left || !deleted) throw new Error("rooms");
    const frees = [
      () => accept(caller, accepted),
      () => leave(server, left, caller),
      () => call(server.ready.http, adder, "DELETE", at(deleted)),
    ];
    for (const free of frees) {
      expect((await free()).status).toBe(204);
      expect((await invite(adder)).reply.status).toBe(201);
      expect((await invite(adder)).reply.status).toBe(429);
    }
  }, 60_000);
});

test("a stock client gets permission for a newly accepted room at its next login, and not before", async () => {
  const room = await roomWith(people.cleo);
  const before = await dial(server, people.cleo);
  const refusals = refusalsOf(before);
  await acceptRoom(server, room, people.cleo);
  before.subscribe(room.state.subject);
  await until("the subscription is refused", () => refusals.some((text) => /permission/i.test(text)));
  const after = await dial(server, people.cleo);
  expect((await after.request(room.state.subject, "stored")).json<{ seq: number }>().seq).toBe(1);
  await Promise.all([before.close(), after.close()]);
});
