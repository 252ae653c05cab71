/**
 * A peer whose access was revoked, by an admin or by a command on the host.
 * Source: docs/protocol/identity.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { Server, unibus, until } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { addMembers, call, createRoom, dial, history, policy, postUser } from "../support/peer.ts";
import { loginOf, RawNats } from "../support/raw-nats.ts";

let server: Server;
let people: Cast<"ana">;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=100000"] });
  people = await castOf(server, "ana");
});
afterAll(() => server[Symbol.asyncDispose]());

const status = async (user: Identity, target = "/directory") =>
  (await call(server.ready.http, user, "GET", target)).status;

async function login(user: Identity, plane: "nats" | "ws" = "nats"): Promise<string> {
  using raw = await RawNats.open(server.ready[plane]);
  return await raw.login(loginOf(user, raw));
}

const ways: Readonly<Record<string, (victim: Identity) => Promise<void>>> = {
  "revoked by an admin": async ({ signPubHex }) => {
    const reply = await call(server.ready.http, people.admin, "POST", `/users/${signPubHex}/revoke`);
    expect(reply.status).toBe(204);
  },
  "deleted by an admin": async ({ signPubHex }) => {
    expect((await call(server.ready.http, people.admin, "DELETE", `/users/${signPubHex}`)).status).toBe(204);
  },
  "revoked by an admin who writes the key in capitals": async ({ signPubHex }) => {
    const target = `/users/${signPubHex.toUpperCase()}/revoke`;
    expect((await call(server.ready.http, people.admin, "POST", target)).status).toBe(204);
  },
  "revoked on the host while the server runs": async ({ signPubHex }) => {
    const done = await unibus(server.folder, ["user", "revoke", signPubHex, "--data", server.data]);
    expect(done).toMatchObject({ code: 0 });
  },
  "deleted on the host while the server runs": async ({ signPubHex }) => {
    const done = await unibus(server.folder, ["user", "delete", signPubHex, "--data", server.data]);
    expect(done).toMatchObject({ code: 0 });
  },
};

describe("a user who was", () => {
  for (const [what, takeAway] of Object.entries(ways)) {
    test(`${what} is denied at the next request and the next login, and others are not`, async () => {
      const victim = await postUser(server, people.admin, "victim");
      const room = await addMembers(server, await createRoom(server, people.ana, policy("persist")), victim);
      const target = `/rooms/${room.state.roomId}/history`;
      expect([await status(victim), await status(victim, target)]).toEqual([200, 200]);
      expect([await login(victim), await login(victim, "ws")]).toEqual(["", ""]);

      await takeAway(victim);
      // The server notices changes made by another process within 2 s.
      await until("the server has noticed", async () => (await status(victim)) === 401, 2_000);
      for (const path of [target, `/rooms/${room.state.roomId}/key`, `/members/${victim.endpoint}/rooms`]) {
        expect(await status(victim, path)).toBe(401);
      }
      expect(await login(victim)).toBe("Authorization Violation");
      expect(await login(victim, "ws")).toBe("Authorization Violation");
      const directory = await call(server.ready.http, people.ana, "GET", "/directory");
      expect(directory.text).not.toContain(victim.signPubHex);
      const members = await call(server.ready.http, people.ana, "GET", `/rooms/${room.state.roomId}/members`);
      expect(members.json.members).toContainEqual(expect.objectContaining({ endpoint: victim.endpoint, left: true }));

      expect([await status(people.ana, target), await login(people.ana)]).toEqual([200, ""]);
      expect(await history(server, people.ana, room)).toEqual([]);
    });
  }

  test("cannot be added to a room any more", async () => {
    const victim = await postUser(server, people.admin, "victim");
    await call(server.ready.http, people.admin, "POST", `/users/${victim.signPubHex}/revoke`);
    const room = await createRoom(server, people.ana, policy());
    const added = addMembers(server, room, victim);
    expect(await added.then(String, String)).toContain("404");
  });

  test("an admin loses the admin's rights, too, and the last admin stays", async () => {
    const body = (user: Identity) => ({ sign_pub: user.signPubHex, handle: "second", role: "admin" });
    const second = await generateIdentity();
    expect((await call(server.ready.http, people.admin, "POST", "/users", body(second))).status).toBe(201);
    expect(await status(second, "/users")).toBe(200);
    const revoke = (user: Identity) => `/users/${user.signPubHex}/revoke`;
    expect((await call(server.ready.http, people.admin, "POST", revoke(second))).status).toBe(204);
    expect(await status(second, "/users")).toBe(401);
    expect((await call(server.ready.http, second, "POST", revoke(people.admin))).status).toBe(401);
    for (const [method, target] of [
      ["POST", revoke(people.admin)],
      ["DELETE", `/users/${people.admin.signPubHex}`],
    ] as const) {
      const reply = await call(server.ready.http, people.admin, method, target);
      expect([reply.status, reply.json.code]).toEqual([409, "conflict"]);
    }
    expect(await status(people.admin, "/users")).toBe(200);
  });
});

test("a login in progress when its user is revoked keeps no rights", async () => {
  for (let round = 0; round < 10; round++) {
    const victim = await postUser(server, people.admin, "racer");
    const [refusal] = await Promise.all([login(victim), ways["revoked by an admin"]?.(victim)]);
    // Either outcome of the race is fine; the next login is refused.
    expect(["", "Authorization Violation"]).toContain(refusal);
    expect(await login(victim)).toBe("Authorization Violation");
  }
  const late = await dial(server, people.ana);
  await late.close();
});
