/**
 * Rooms over HTTP, against the executable: concurrent creation, validation of statements and signatures, reading,
 * adding members, discovery, and deletion. Source: docs/protocol/rooms.md, docs/reference/http.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { ulid } from "ulid";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { statementLines } from "../../src/wire/statement.ts";
import { Server } from "../support/executable.ts";
import { type Cast, castOf, inside, jetStream } from "../support/inside.ts";
import {
  addBody,
  addMembers,
  call,
  createBody,
  createRoom,
  dial,
  freshSubject,
  history,
  newRoom,
  type OwnRoom,
  policy,
  type Reply,
  statementOf,
} from "../support/peer.ts";

let server: Server;
let people: Cast<"ana" | "bob" | "eve">;
let bus: NatsConnection;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=1000000"] });
  people = await castOf(server, "ana", "bob", "eve");
  bus = await inside(server);
});
afterAll(async () => {
  await bus.close();
  await server[Symbol.asyncDispose]();
});

const ask = (caller: Identity, method: string, target: string, body?: unknown): Promise<Reply> =>
  call(server.ready.http, caller, method, target, body);
const at = (room: OwnRoom, part = "") => `/rooms/${room.state.roomId}${part}`;
const outcome = ({ status, json }: Reply) => [status, json.code];
const streamsOf = async (subject: string) =>
  (await jetStream<{ streams: string[] | null }>(bus, "STREAM.NAMES", { subject })).streams ?? [];
const roomsOf = async (caller: Identity) =>
  (await ask(caller, "GET", `/members/${caller.endpoint}/rooms`)).json as unknown as Record<string, unknown>[];

describe("200 concurrent creations", () => {
  const racers = 200;
  const tally = (replies: readonly Reply[]) => replies.map(({ status }) => status).sort();

  test("on one subject: one succeeds, with one stream; the rest conflict", async () => {
    const subject = freshSubject();
    const rooms = Array.from({ length: racers }, (_, i) =>
      newRoom([people.ana, people.bob][i % 2] ?? people.ana, subject, policy("persist")),
    );
    const replies = await Promise.all(rooms.map((room) => ask(room.owner, "POST", "/rooms", createBody(room))));
    expect(tally(replies)).toEqual([201, ...Array<number>(racers - 1).fill(409)]);
    const won = rooms[replies.findIndex(({ status }) => status === 201)];
    expect(await streamsOf(subject)).toEqual([`UNIBUS_${won?.state.roomId}`]);
    const listed = [...(await roomsOf(people.ana)), ...(await roomsOf(people.bob))];
    expect(listed.filter((room) => room.subject === subject)).toHaveLength(1);
    const nats = await dial(server, won?.owner ?? people.ana);
    expect((await nats.request(subject, "x")).json<{ seq: number }>().seq).toBe(1);
    await nats.close();
  }, 20_000);

  test("with one id on many subjects: one succeeds, and no other stream is left", async () => {
    const id = ulid();
    const rooms = Array.from({ length: 40 }, () => newRoom(people.ana, freshSubject(), policy("persist"), id));
    const replies = await Promise.all(rooms.map((room) => ask(people.ana, "POST", "/rooms", createBody(room))));
    expect(tally(replies)).toEqual([201, ...Array<number>(39).fill(409)]);
    const won = rooms[replies.findIndex(({ status }) => status === 201)];
    for (const room of rooms) {
      expect(await streamsOf(room.state.subject)).toEqual(room === won ? [`UNIBUS_${id}`] : []);
    }
  }, 20_000);

  test("and deletions, repeatedly on one subject: in the end at most one room has it", async () => {
    const subject = freshSubject();
    const churn = async (): Promise<void> => {
      for (let i = 0; i < 6; i++) {
        const room = newRoom(people.ana, subject, policy("persist"));
        const made = await ask(people.ana, "POST", "/rooms", createBody(room));
        expect([201, 409]).toContain(made.status);
        if (made.status === 201) expect((await ask(people.ana, "DELETE", at(room))).status).toBe(204);
      }
    };
    await Promise.all(Array.from({ length: 8 }, churn));
    expect(await streamsOf(subject)).toEqual([]);
    expect((await createRoom(server, people.ana, policy("persist"), subject)).state.subject).toBe(subject);
  }, 20_000);
});

describe("an invalid statement", () => {
  const wrong: readonly (readonly [line: number, value: string, status: number])[] = [
    [0, "unibus-room-v2", 400],
    [1, "not-a-ulid", 400],
    [2, "0", 400],
    [2, "2", 409],
    [2, "01", 400],
    [3, "1".repeat(64), 400],
    [3, "", 400],
    [4, "room", 400],
    [4, "", 400],
    [5, "012", 400],
    [5, "11", 400],
    [6, "2", 400],
    [6, "2147483648", 400],
    [7, "0".repeat(64), 400],
    [7, "x", 400],
    [8, "", 400],
    [8, "0".repeat(64), 403],
    [9, "0".repeat(64), 400],
  ];
  for (const [line, value, status] of wrong) {
    const name = `line ${line + 1} (${statementLines[line]})`;
    test(`${name} ${JSON.stringify(value.slice(0, 20))}: ${status}, and the line is named`, async () => {
      const room = newRoom(people.ana, freshSubject(), policy("encrypt", "persist"));
      const whole = createBody(room) as { statement: { text: string }; sealed_key: string };
      const lines = whole.statement.text.split("\n");
      lines[line] = value;
      const statement = { ...whole.statement, text: lines.join("\n") };
      const reply = await ask(people.ana, "POST", "/rooms", { ...whole, statement });
      expect(reply.status).toBe(status);
      if (status === 400) expect(reply.json.error).toContain(name);
      expect((await ask(people.ana, "GET", at(room))).status).toBe(404);
      expect(await streamsOf(room.state.subject)).toEqual([]);
    });
  }

  test("with a wrong signature, or a missing or extra key: 400", async () => {
    const room = newRoom(people.ana, freshSubject(), policy("encrypt"));
    const whole = createBody(room) as { statement: { text: string; sig: string }; sealed_key?: string };
    const { sealed_key, ...bare } = whole;
    const sig = statementOf(newRoom(people.ana, freshSubject(), policy()).state, people.ana).sig;
    const open = { ...createBody(newRoom(people.ana, freshSubject(), policy())), sealed_key };
    const tried = [bare, { ...whole, statement: { ...whole.statement, sig } }, open];
    for (const body of tried) expect(outcome(await ask(people.ana, "POST", "/rooms", body))).toEqual([400, "invalid"]);
    expect((await ask(people.ana, "POST", "/rooms", whole)).status).toBe(201);
  });

  test("in a body of another shape: 400", async () => {
    const { statement } = createBody(newRoom(people.ana, freshSubject(), policy())) as { statement: object };
    const bodies = [
      null,
      [],
      "x",
      {},
      { statement: null },
      { statement: { ...statement, extra: 1 } },
      { statement, extra: 1 },
      { statement, sealed_key: null },
      { statement, sealed_key: "x" },
      { statement: { ...statement, by: "x" } },
      { statement: { ...statement, text: "" } },
      { statement: { ...statement, text: "x".repeat(16_385) } },
      { statement: { ...statement, sig: "x" } },
    ];
    for (const body of bodies) {
      const reply = await ask(people.ana, "POST", "/rooms", body);
      expect([JSON.stringify(body).slice(0, 60), ...outcome(reply)]).toEqual([
        JSON.stringify(body).slice(0, 60),
        400,
        "invalid",
      ]);
    }
  });
});

describe("a room", () => {
  test("is shown as it was created, in its reply, to its members and in their lists", async () => {
    const room = await createRoom(server, people.ana, policy("encrypt", "persist", "sign_msgs"));
    const base = {
      room_id: room.state.roomId,
      subject: room.state.subject,
      epoch: 1,
      policy: { encrypt: true, persist: true, sign_msgs: true },
    };
    const shown = (await ask(people.ana, "GET", at(room))).json;
    expect(shown).toMatchObject({ ...base, role: "owner", version: 1, rekey_pending: false, when_full: "refuse" });
    expect(shown.created_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(shown.bytes_max).toBe(1_073_741_824);
    const listed = (await roomsOf(people.ana)).find(({ room_id }) => room_id === room.state.roomId);
    const storage = { stream: `UNIBUS_${room.state.roomId}`, full: false };
    expect(shown).toMatchObject(storage);
    const standing = { ...storage, accepted: true, live: true, added_by: people.ana.endpoint };
    expect(listed).toEqual({ ...base, role: "owner", version: 1, rekey_pending: false, ...standing });
    const { statements, more } = (await ask(people.ana, "GET", at(room, "/statements"))).json;
    expect(more).toBe(false);
    expect(statements).toEqual([{ version: 1, ...statementOf(room.state, people.ana) }]);
  });

  test("lists its statements from a given version on", async () => {
    const room = await addMembers(server, await createRoom(server, people.ana, policy()), people.bob);
    const versions = async (query: string) => {
      const reply = await ask(people.bob, "GET", at(room, `/statements${query}`));
      return (reply.json.statements as { version: number }[]).map(({ version }) => version);
    };
    expect(await versions("")).toEqual([1, 2]);
    expect(await versions("?from=2")).toEqual([2]);
    expect(await versions("?from=3")).toEqual([]);
    for (const from of ["0", "-1", "x"]) {
      expect((await ask(people.bob, "GET", at(room, `/statements?from=${from}`))).status).toBe(400);
    }
  });

  test("is listed for its members by room id, in any order of creation", async () => {
    const caller = await generateIdentity();
    const { signPubHex, kexPubHex, kexSig } = caller;
    const user = { sign_pub: signPubHex, handle: "lister", role: "member", kex_pub: kexPubHex, kex_sig: kexSig };
    expect((await ask(people.admin, "POST", "/users", user)).status).toBe(201);
    expect(await roomsOf(caller)).toEqual([]);
    const ids = ["7ZZZZZZZZZ", "0000000000", "3333333333", "0000000001"].map((head) => `${head}${ulid().slice(10)}`);
    for (const id of ids) {
      const made = newRoom(caller, freshSubject(), policy(), id);
      expect((await ask(caller, "POST", "/rooms", createBody(made))).status).toBe(201);
    }
    expect((await roomsOf(caller)).map(({ room_id }) => room_id)).toEqual([...ids].sort());
  });
});

describe("adding members", () => {
  test("gives them the room, its key and its frames; every member receives every line", async () => {
    const room = await addMembers(
      server,
      await createRoom(server, people.ana, policy("encrypt", "persist")),
      people.bob,
      people.eve,
    );
    for (const caller of [people.bob, people.eve]) {
      expect((await ask(caller, "GET", at(room))).json).toMatchObject({ role: "member", version: 2, epoch: 1 });
      const key = (await ask(caller, "GET", at(room, "/key"))).json;
      expect(key.epoch).toBe(1);
      expect(await caller.openRoomKey(key.sealed_key as string)).toEqual(room.key);
    }
    const { version, members } = (await ask(people.eve, "GET", at(room, "/members"))).json;
    expect(version).toBe(2);
    const lines = [people.ana, people.bob, people.eve].map(({ endpoint, signPubHex, kexPubHex, kexSig }, i) => ({
      ...{ endpoint, sign_pub: signPubHex, kex_pub: kexPubHex, kex_sig: kexSig },
      ...{ role: i === 0 ? "owner" : "member", since: 1, until: 0, left: false, handle: ["ana", "bob", "eve"][i] },
    }));
    expect(members).toEqual(lines.sort((a, b) => (a.endpoint < b.endpoint ? -1 : 1)));
    const bob = await dial(server, people.bob);
    await bob.request(room.state.subject, "from bob");
    await bob.close();
    expect((await history(server, people.eve, room)).map(String)).toEqual(["from bob"]);
  });

  test("to one version at once: one wins, the others must read again", async () => {
    const room = await createRoom(server, people.ana, policy());
    const bodies = Array.from({ length: 20 }, (_, i) => addBody(room, i % 2 ? people.bob : people.eve).body);
    const replies = await Promise.all(bodies.map((body) => ask(people.ana, "POST", at(room, "/members"), body)));
    expect(replies.map(({ status }) => status).sort()).toEqual([201, ...Array<number>(19).fill(409)]);
    const { version, members } = (await ask(people.ana, "GET", at(room, "/members"))).json;
    expect([version, (members as unknown[]).length]).toEqual([2, 2]);
  });

  test("is refused: 404 for an unknown user, 409 for a member, a stale version, or a user without kex key", async () => {
    const room = await createRoom(server, people.ana, policy());
    const bare = await generateIdentity();
    await ask(people.admin, "POST", "/users", { sign_pub: bare.signPubHex, handle: "bare", role: "member" });
    const post = async (...members: Identity[]) =>
      outcome(await ask(people.ana, "POST", at(room, "/members"), addBody(room, ...members).body));
    expect(await post(await generateIdentity())).toEqual([404, "not_found"]);
    expect(await post(people.ana)).toEqual([409, "conflict"]);
    expect(await post(bare)).toEqual([409, "conflict"]);
    expect(await post(people.bob, people.bob)).toEqual([409, "conflict"]);
    const next = await addMembers(server, room, people.bob);
    expect(await post(people.eve)).toEqual([409, "conflict"]);
    const later = addBody({ ...next, state: { ...next.state, version: 7 } }, people.eve).body;
    expect(outcome(await ask(people.ana, "POST", at(room, "/members"), later))).toEqual([409, "conflict"]);
    expect((await ask(people.ana, "GET", at(room))).json.version).toBe(2);
  });

  test("with an invalid body or statement: 400, and the room is unchanged", async () => {
    const room = await createRoom(server, people.ana, policy("encrypt"));
    const { members, statement } = addBody(room, people.bob).body as {
      members: Record<string, string>[];
      statement: { text: string };
    };
    const [{ sealed_key, ...keyless } = {}] = members;
    const line = (index: number, value: string) => {
      const lines = statement.text.split("\n");
      lines[index] = value;
      return { ...statement, text: lines.join("\n") };
    };
    const bodies = [
      {},
      { members: [], statement },
      { members },
      { members: [{}], statement },
      { members: [{ endpoint: "x" }], statement },
      { members: [keyless], statement },
      { members: [{ ...keyless, sealed_key: "x" }], statement },
      { members: [{ ...keyless, sealed_key, extra: 1 }], statement },
      { members: "all", statement },
      { members, statement: { ...statement, text: `${statement.text}\n` } },
      ...[0, 1, 3, 4, 5, 6, 7, 9].map((index) => ({ members, statement: line(index, "x") })),
      { members, statement: line(3, "0".repeat(64)) },
      { members, statement: line(4, freshSubject()) },
      { members, statement: line(6, "2") },
      { members, statement: line(9, "0".repeat(64)) },
    ];
    for (const [i, body] of bodies.entries()) {
      expect([i, ...outcome(await ask(people.ana, "POST", at(room, "/members"), body))]).toEqual([i, 400, "invalid"]);
    }
    expect((await ask(people.ana, "GET", at(room))).json.version).toBe(1);
    expect((await ask(people.bob, "GET", at(room))).status).toBe(403);
    expect((await ask(people.ana, "POST", at(room, "/members"), { members, statement })).status).toBe(201);
  });
});

describe("deletion", () => {
  test("removes the room, its stream and its list entries; its subject is free, its id stays taken", async () => {
    const room = await addMembers(
      server,
      await createRoom(server, people.ana, policy("encrypt", "persist")),
      people.bob,
    );
    const nats = await dial(server, people.ana);
    await nats.request(room.state.subject, "gone with the room");
    await nats.close();
    const gone = await ask(people.ana, "DELETE", at(room));
    expect([gone.status, gone.text]).toEqual([204, ""]);
    for (const caller of [people.ana, people.bob, people.eve, people.admin]) {
      for (const part of ["", "/members", "/statements", "/key", "/history"]) {
        expect(outcome(await ask(caller, "GET", at(room, part)))).toEqual([410, "gone"]);
      }
      expect(outcome(await ask(caller, "DELETE", at(room)))).toEqual([410, "gone"]);
      expect((await roomsOf(caller)).some(({ room_id }) => room_id === room.state.roomId)).toBe(false);
    }
    expect(await streamsOf(room.state.subject)).toEqual([]);
    const again = newRoom(people.ana, freshSubject(), policy(), room.state.roomId);
    expect(outcome(await ask(people.ana, "POST", "/rooms", createBody(again)))).toEqual([410, "gone"]);
    const next = await createRoom(server, people.eve, policy("persist"), room.state.subject);
    expect(await history(server, people.eve, next)).toEqual([]);
    expect((await ask(people.bob, "GET", at(next))).status).toBe(403);
  });

  test("many times at once: one succeeds, the others find it gone", async () => {
    const room = await createRoom(server, people.ana, policy("persist"));
    const replies = await Promise.all(
      Array.from({ length: 16 }, (_, i) => ask(i % 2 ? people.ana : people.admin, "DELETE", at(room))),
    );
    expect(replies.map(({ status }) => status).sort()).toEqual([204, ...Array<number>(15).fill(410)]);
  });

  test("during reads of the history leaves no stream behind", async () => {
    for (let round = 0; round < 5; round++) {
      const room = await createRoom(server, people.ana, policy("persist"));
      const reads = Array.from({ length: 8 }, () => ask(people.ana, "GET", at(room, "/history")));
      const [deleted, ...replies] = await Promise.all([ask(people.ana, "DELETE", at(room)), ...reads]);
      expect(deleted.status).toBe(204);
      for (const { status } of replies) expect([200, 410]).toContain(status);
      expect(await streamsOf(room.state.subject)).toEqual([]);
    }
  });
});
