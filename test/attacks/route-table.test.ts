/**
 * Every route for every kind of caller: unsigned, badly signed, stranger, outsider, member, owner and admin. The table
 * lists the status that each of them gets from each route of the running server. A route that is missing from the table
 * fails the test, so that a new route cannot skip the access check.
 * Source: docs/protocol/requests.md, docs/reference/http.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { signatureHeaders } from "../../src/wire/sign.ts";
import { Server } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import {
  addBody,
  addMembers,
  call,
  createBody,
  createRoom,
  dial,
  freshSubject,
  kickBody,
  newRoom,
  type OwnRoom,
  policy,
  postUser,
  type Reply,
  roleBody,
  send,
  signedHeaders,
} from "../support/peer.ts";
import { Story } from "../support/way-back.ts";

const callers = ["none", "bad", "stranger", "outsider", "member", "owner", "admin"] as const;
type Caller = (typeof callers)[number];

let server: Server;
let people: Cast<"outsider" | "member" | "owner">;
let stranger: Identity;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=1000000"] });
  people = await castOf(server, "outsider", "member", "owner");
  stranger = await generateIdentity();
});
afterAll(() => server[Symbol.asyncDispose]());

/** The key that a caller presents. `none` and `bad` use the owner's, which has the most permissions. */
function identityOf(caller: Caller): Identity {
  if (caller === "stranger") return stranger;
  return caller === "none" || caller === "bad" ? people.owner : people[caller];
}

/** Creates a persisted, encrypted room of owner and member, with one frame in it. */
async function room(): Promise<OwnRoom> {
  const made = await createRoom(server, people.owner, policy("encrypt", "persist"));
  const shared = await addMembers(server, made, people.member);
  const owner = await dial(server, people.owner);
  await owner.request(shared.state.subject, "frame");
  await owner.close();
  return shared;
}

const asAdmin = async (method: string, target: string, body?: unknown): Promise<Record<string, unknown>> =>
  (await call(server.ready.http, people.admin, method, target, body)).json;

interface Asked {
  readonly target: string;
  readonly body?: unknown;
}

/** One route: a request, built separately for each caller, and the status for each of `callers`, in their order. */
interface Row {
  readonly ask: (user: Identity) => Asked | Promise<Asked>;
  readonly statuses: string;
}

const open = "200 200 200 200 200 200 200";
const everyUser = (status: number) => `401 401 401 ${`${status} `.repeat(4).trim()}`;
const membersOnly = "401 401 401 403 200 200 403";
const adminsOnly = (status: number) => `401 401 401 403 403 403 ${status}`;
const asIs = (target: string) => () => ({ target });
const inRoom = (part: string) => async () => ({ target: `/rooms/${(await room()).state.roomId}${part}` });
const ownersOnly = (status: number) => `401 401 401 403 403 ${status} 403`;
/** A change of a room that the caller signs, whether or not they own the room. */
async function changed(user: Identity, part: string, change: (own: OwnRoom) => { body: unknown }): Promise<Asked> {
  const shared = await room();
  return { target: `/rooms/${shared.state.roomId}${part}`, body: change({ ...shared, owner: user }).body };
}
const newUser = async () => {
  const { signPubHex } = await generateIdentity();
  return { sign_pub: signPubHex, handle: "new", role: "member" };
};

const table: Readonly<Record<string, Row>> = {
  "GET /info": { ask: asIs("/info"), statuses: open },
  "GET /healthz": { ask: asIs("/healthz"), statuses: open },
  "GET /readyz": { ask: asIs("/readyz"), statuses: open },
  "GET /openapi.json": { ask: asIs("/openapi.json"), statuses: open },
  "POST /rooms": {
    ask: (user) => ({ target: "/rooms", body: createBody(newRoom(user, freshSubject(), policy("persist"))) }),
    statuses: everyUser(201),
  },
  "GET /rooms/{id}": { ask: inRoom(""), statuses: membersOnly },
  "DELETE /rooms/{id}": { ask: inRoom(""), statuses: "401 401 401 403 403 204 204" },
  "GET /rooms/{id}/members": { ask: inRoom("/members"), statuses: membersOnly },
  "POST /rooms/{id}/members": {
    ask: (user) => changed(user, "/members", (own) => addBody(own, people.outsider)),
    statuses: ownersOnly(201),
  },
  "PUT /rooms/{id}/accept": { ask: inRoom("/accept"), statuses: "401 401 401 403 204 204 403" },
  "GET /rooms/{id}/statements": { ask: inRoom("/statements"), statuses: membersOnly },
  "GET /rooms/{id}/key": { ask: inRoom("/key"), statuses: membersOnly },
  "GET /rooms/{id}/history": { ask: inRoom("/history"), statuses: membersOnly },
  // The message is not a frame, so it has no sender: only owners may erase it.
  "DELETE /rooms/{id}/messages/{seq}": { ask: inRoom("/messages/1"), statuses: ownersOnly(200) },
  "PUT /rooms/{id}/durable": { ask: inRoom("/durable"), statuses: membersOnly },
  "DELETE /rooms/{id}/durable": { ask: inRoom("/durable"), statuses: "401 401 401 403 204 204 403" },
  "DELETE /rooms/{id}/members/{endpoint}": {
    ask: (user) => changed(user, `/members/${people.member.endpoint}`, (own) => kickBody(own, [people.member], [user])),
    statuses: ownersOnly(204),
  },
  "PUT /rooms/{id}/members/{endpoint}/role": {
    ask: (user) =>
      changed(user, `/members/${people.member.endpoint}/role`, (own) => roleBody(own, people.member, "owner")),
    statuses: ownersOnly(200),
  },
  "POST /rooms/{id}/rekey": {
    ask: (user) => changed(user, "/rekey", (own) => kickBody(own, [], [people.member, people.owner])),
    statuses: ownersOnly(200),
  },
  // The server was not restored: no caller has a way back.
  "PUT /rooms/{id}/restore": {
    ask: async (user) => ({ ...(await inRoom("/restore")()), body: Story.of(user).body(user, 0) }),
    statuses: everyUser(409),
  },
  "PUT /rooms/{id}/way-back": {
    ask: async () => ({ ...(await inRoom("/way-back")()), body: { hash: "0".repeat(64) } }),
    statuses: adminsOnly(409),
  },
  "GET /way-back": { ask: asIs("/way-back"), statuses: adminsOnly(200) },
  "GET /members/{endpoint}/rooms": {
    ask: () => ({ target: `/members/${people.member.endpoint}/rooms` }),
    statuses: "401 401 401 403 200 403 403",
  },
  "GET /directory": { ask: asIs("/directory"), statuses: everyUser(200) },
  "PUT /users/me/keys": {
    ask: ({ kexPubHex, kexSig }) => ({ target: "/users/me/keys", body: { kex_pub: kexPubHex, kex_sig: kexSig } }),
    statuses: everyUser(204),
  },
  "GET /users": { ask: asIs("/users"), statuses: adminsOnly(200) },
  "POST /users": { ask: async () => ({ target: "/users", body: await newUser() }), statuses: adminsOnly(201) },
  "PUT /users/{sign_pub}": {
    ask: async () => ({
      target: `/users/${(await postUser(server, people.admin, "x")).signPubHex}`,
      body: { handle: "another" },
    }),
    statuses: adminsOnly(204),
  },
  "POST /users/{sign_pub}/revoke": {
    ask: async () => ({ target: `/users/${(await postUser(server, people.admin, "x")).signPubHex}/revoke` }),
    statuses: adminsOnly(204),
  },
  "POST /users/{sign_pub}/restore": {
    ask: async () => {
      const { signPubHex } = await postUser(server, people.admin, "x");
      await asAdmin("POST", `/users/${signPubHex}/revoke`);
      return { target: `/users/${signPubHex}/restore` };
    },
    statuses: adminsOnly(204),
  },
  "GET /admin/rooms": { ask: asIs("/admin/rooms"), statuses: adminsOnly(200) },
  "GET /admin/connections": { ask: asIs("/admin/connections"), statuses: adminsOnly(200) },
  "GET /admin/usage": { ask: asIs("/admin/usage"), statuses: adminsOnly(200) },
  "DELETE /users/{sign_pub}": {
    ask: async () => ({ target: `/users/${(await postUser(server, people.admin, "x")).signPubHex}` }),
    statuses: adminsOnly(204),
  },
  "GET /invites": { ask: asIs("/invites"), statuses: adminsOnly(200) },
  "POST /invites": { ask: () => ({ target: "/invites", body: { handle: "new" } }), statuses: adminsOnly(201) },
  "DELETE /invites/{id}": {
    ask: async () => ({ target: `/invites/${(await asAdmin("POST", "/invites", { handle: "new" })).id}` }),
    statuses: adminsOnly(204),
  },
  "POST /register": {
    ask: async () => {
      const { token } = await asAdmin("POST", "/invites", { handle: "new" });
      const { signPubHex, kexPubHex, kexSig } = await generateIdentity();
      return { target: "/register", body: { token, sign_pub: signPubHex, kex_pub: kexPubHex, kex_sig: kexSig } };
    },
    statuses: "201 201 201 201 201 201 201",
  },
  "POST /blobs": { ask: () => ({ target: "/blobs", body: crypto.randomUUID() }), statuses: everyUser(201) },
  "GET /blobs/{hash}": {
    ask: async () => ({ target: `/blobs/${(await asAdmin("POST", "/blobs", crypto.randomUUID())).hash}` }),
    statuses: everyUser(200),
  },
  "DELETE /blobs/{hash}": {
    ask: async () => ({ target: `/blobs/${(await asAdmin("POST", "/blobs", crypto.randomUUID())).hash}` }),
    statuses: "401 401 401 404 404 404 204",
  },
};

const codes: Readonly<Record<number, string>> = {
  401: "unauthenticated",
  403: "forbidden",
  404: "not_found",
  409: "conflict",
  410: "gone",
};

async function request(caller: Caller, method: string, { target, body }: Asked): Promise<Reply> {
  if (caller === "none") return call(server.ready.http, null, method, target, body);
  if (caller !== "bad") return call(server.ready.http, identityOf(caller), method, target, body);
  const text = body === undefined ? undefined : JSON.stringify(body);
  const given = text === undefined ? {} : { body: text };
  const headers = signedHeaders(people.owner, { url: server.ready.http, method, target, ...given });
  const sig = Buffer.from(headers[signatureHeaders.sig] ?? "", "base64");
  sig[0] = (sig[0] ?? 0) ^ 1;
  return send(`${server.ready.http}${target}`, {
    method,
    headers: { ...headers, [signatureHeaders.sig]: sig.toString("base64") },
    ...given,
  });
}

test("the table lists exactly the routes of the running server", async () => {
  const { paths } = (await send(`${server.ready.http}/openapi.json`)).json as { paths: Record<string, object> };
  const served = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  expect(served.sort()).toEqual(Object.keys(table).sort());
});

describe("each kind of caller gets the status in the table:", () => {
  for (const [name, { ask, statuses }] of Object.entries(table)) {
    const [method = "", path = ""] = name.split(" ");
    for (const [i, caller] of callers.entries()) {
      const status = Number(statuses.split(" ")[i]);
      test(`${method} ${path} by ${caller}: ${status}`, async () => {
        const reply = await request(caller, method, await ask(identityOf(caller)));
        expect([reply.status, reply.json.code]).toEqual([status, codes[status] as never]);
      });
    }
  }
});

describe("an unknown room", () => {
  // Restoring concerns rooms that the server lacks; its attacks are in restore.test.ts.
  const restores = ["PUT /rooms/{id}/restore", "PUT /rooms/{id}/way-back"];
  const inRooms = Object.keys(table).filter((name) => name.includes("/rooms/{id}") && !restores.includes(name));
  const nowhere = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
  const targetIn = (path: string, roomId: string) =>
    path.replace("{id}", roomId).replace("{endpoint}", people.member.endpoint).replace("{seq}", "1");
  const bodyFor = (name: string) => (/^POST|role$/.test(name) ? {} : undefined);

  for (const name of inRooms) {
    const [method = "", path = ""] = name.split(" ");
    test(`${name}: 401 before 404, and 404 before the body is validated`, async () => {
      const target = targetIn(path, nowhere);
      for (const caller of callers) {
        const reply = await request(caller, method, { target, body: bodyFor(name) });
        const status = ["none", "bad", "stranger"].includes(caller) ? 401 : 404;
        expect([caller, reply.status, reply.json.code]).toEqual([caller, status, codes[status] as never]);
      }
    });

    test(`${name}: 410 for every caller after the deletion`, async () => {
      const { state } = await room();
      expect((await request("owner", "DELETE", { target: `/rooms/${state.roomId}` })).status).toBe(204);
      const target = targetIn(path, state.roomId);
      for (const caller of ["outsider", "member", "owner", "admin"] as const) {
        const reply = await request(caller, method, { target, body: bodyFor(name) });
        expect([caller, reply.status, reply.json.code]).toEqual([caller, 410, "gone"]);
      }
    });
  }
});
