/**
 * Creating a room, or changing one, in another user's name. The tests post statements signed by the wrong user, copied
 * from another user or room, or sent by someone other than their signer, and check that each is refused and leaves no
 * row and no change behind. Source: docs/protocol/rooms.md, docs/reference/http.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { nextState, type RoomState } from "../../src/wire/statement.ts";
import { Server } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import {
  addBody,
  addMembers,
  call,
  createBody,
  createRoom,
  freshSubject,
  newRoom,
  type OwnRoom,
  policy,
  statementOf,
} from "../support/peer.ts";

let server: Server;
let people: Cast<"ana" | "bob" | "eve">;

beforeAll(async () => {
  server = await Server.start();
  people = await castOf(server, "ana", "bob", "eve");
});
afterAll(() => server[Symbol.asyncDispose]());

const post = (caller: Identity, target: string, body: unknown) => call(server.ready.http, caller, "POST", target, body);
const lineOf = (room: OwnRoom) => room.state.lines.slice(0, 1);
const withLines = (room: OwnRoom, lines: RoomState["lines"]): RoomState => ({ ...room.state, lines });

/** Creations that name another user as their author; Eve posts each of them. */
const creations: Readonly<Record<string, (ana: Identity, eve: Identity) => { status: number; body: unknown }>> = {
  "another user's room, signed by that user": (ana) => ({
    status: 403,
    body: createBody(newRoom(ana, freshSubject(), policy("encrypt"))),
  }),
  "another user's room, signed by oneself": (ana, eve) => ({
    status: 403,
    body: { statement: statementOf(newRoom(ana, freshSubject(), policy()).state, eve) },
  }),
  "one's own room, claimed to be signed by another user": (ana, eve) => {
    const room = newRoom(eve, freshSubject(), policy());
    return { status: 403, body: { statement: { ...statementOf(room.state, eve), by: ana.signPubHex } } };
  },
  "a room with a second owner": (ana, eve) => {
    const [own, other] = [newRoom(eve, freshSubject(), policy()), newRoom(ana, freshSubject(), policy())];
    const state = withLines(own, [...lineOf(own), ...lineOf(other)]);
    return { status: 403, body: { statement: statementOf(state, eve) } };
  },
  "a room with another member from the start": (ana, eve) => {
    const [own, other] = [newRoom(eve, freshSubject(), policy()), newRoom(ana, freshSubject(), policy())];
    const guests = lineOf(other).map((line) => ({ ...line, role: "member" as const }));
    return { status: 400, body: { statement: statementOf(withLines(own, [...lineOf(own), ...guests]), eve) } };
  },
  "a room whose owner has another user's kex key": (ana, eve) => {
    const own = newRoom(eve, freshSubject(), policy());
    const lines = lineOf(own).map((line) => ({ ...line, kex_pub: ana.kexPubHex }));
    return { status: 400, body: { statement: statementOf(withLines(own, lines), eve) } };
  },
  "a room whose owner has another user's endpoint": (ana, eve) => {
    const own = newRoom(eve, freshSubject(), policy());
    const lines = lineOf(own).map((line) => ({ ...line, endpoint: ana.endpoint }));
    return { status: 400, body: { statement: statementOf(withLines(own, lines), eve) } };
  },
  "a room with the signature of another text": (_, eve) => {
    const [own, other] = [newRoom(eve, freshSubject(), policy()), newRoom(eve, freshSubject(), policy())];
    const { sig } = statementOf(other.state, eve);
    return { status: 400, body: { statement: { ...statementOf(own.state, eve), sig } } };
  },
  "a room at a later version": (_, eve) => {
    const own = newRoom(eve, freshSubject(), policy());
    return { status: 409, body: { statement: statementOf({ ...own.state, version: 2 }, eve) } };
  },
};

describe("the creation of a room", () => {
  for (const [what, make] of Object.entries(creations)) {
    test(`${what}: refused, and no row is written`, async () => {
      const { status, body } = make(people.ana, people.eve);
      const reply = await post(people.eve, "/rooms", body);
      expect([reply.status, typeof reply.json.error]).toEqual([status, "string"]);
      for (const user of [people.ana, people.eve]) {
        const mine = await call(server.ready.http, user, "GET", `/members/${user.endpoint}/rooms`);
        expect(mine.json).toEqual([] as never);
      }
    });
  }

  test("by a user without a kex key: 409, because a key could not be sealed to its owner", async () => {
    const bare = await generateIdentity();
    const body = { sign_pub: bare.signPubHex, handle: "bare", role: "member" };
    expect((await post(people.admin, "/users", body)).status).toBe(201);
    const reply = await post(bare, "/rooms", createBody(newRoom(bare, freshSubject(), policy())));
    expect([reply.status, reply.json.code]).toEqual([409, "conflict"]);
  });

  test("of one's own: 201", async () => {
    expect((await post(people.bob, "/rooms", createBody(newRoom(people.bob, freshSubject(), policy())))).status).toBe(
      201,
    );
  });
});

describe("a change of a room", () => {
  test("by a member, a stranger, or in a member's name: 403, and the room is unchanged", async () => {
    const room = await addMembers(server, await createRoom(server, people.ana, policy("encrypt")), people.bob);
    const target = `/rooms/${room.state.roomId}/members`;
    const asOwner = addBody(room, people.eve).body as { members: unknown; statement: { text: string; sig: string } };
    const asMember = addBody({ ...room, owner: people.bob }, people.eve).body;
    const asStranger = addBody({ ...room, owner: people.eve }, people.eve).body;
    const tried = [
      await post(people.bob, target, asMember),
      await post(people.eve, target, asStranger),
      // Statements that the owner signed, sent by other users.
      await post(people.bob, target, asOwner),
      await post(people.eve, target, asOwner),
      // A statement that a member signed, sent by the owner.
      await post(people.ana, target, asMember),
    ];
    expect(tried.map(({ status, json }) => [status, json.code])).toEqual(Array(5).fill([403, "forbidden"]));
    const forged = { ...asOwner, statement: { ...asOwner.statement, sig: statementOf(room.state, people.ana).sig } };
    expect((await post(people.ana, target, forged)).status).toBe(400);
    const promoted: RoomState = nextState(room.state, { kind: "role", endpoint: people.bob.endpoint, role: "owner" });
    const role = { ...asOwner, statement: statementOf(promoted, people.ana) };
    expect((await post(people.ana, target, role)).status).toBe(400);

    const now = await call(server.ready.http, people.bob, "GET", target);
    expect(now.json.version).toBe(2);
    expect((now.json.members as { endpoint: string }[]).map(({ endpoint }) => endpoint).sort()).toEqual(
      [people.ana.endpoint, people.bob.endpoint].sort(),
    );
    expect((await post(people.ana, target, asOwner)).status).toBe(201);
  });

  test("of another room, sent to this one: refused", async () => {
    const mine = await createRoom(server, people.ana, policy());
    const other = await createRoom(server, people.ana, policy());
    const reply = await post(people.ana, `/rooms/${mine.state.roomId}/members`, addBody(other, people.bob).body);
    expect(reply.status).toBe(400);
    expect(reply.json.error).toContain("line 2 (room_id)");
  });

  test("that deletes it: allowed for an owner or an admin only", async () => {
    const room = await addMembers(server, await createRoom(server, people.ana, policy("persist")), people.bob);
    const target = `/rooms/${room.state.roomId}`;
    for (const user of [people.bob, people.eve]) {
      expect((await call(server.ready.http, user, "DELETE", target)).status).toBe(403);
    }
    expect((await call(server.ready.http, people.bob, "GET", target)).status).toBe(200);
    expect((await call(server.ready.http, people.ana, "DELETE", target)).status).toBe(204);
  });
});
