/**
 * The number of SQL statements per route, so that an increase does not go unnoticed. The counts include the user lookup
 * of the signature check, and work that continues after the reply.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { generateIdentity, type Identity } from "../../../src/client/crypto/identity.ts";
import { expectGolden } from "../../support/golden.ts";
import { bootInProcess, type InProcess } from "../../support/in-process.ts";
import {
  addBody,
  addMembers,
  at,
  call,
  createBody,
  createRoom,
  freshSubject,
  inviteMembers,
  kickBody,
  newRoom,
  type OwnRoom,
  policy,
  postUser,
  roleBody,
} from "../../support/peer.ts";
import { type Counts, StatementCounter } from "./counting.ts";

/** Requests per route: the median count is free of statements by timers. */
const rounds = 3;
/** Number of consecutive looks without a statement after which a request's work counts as finished. */
const quietLooks = 4;

/** One request that must succeed. */
interface Ask {
  readonly as?: Identity | null;
  readonly target: string;
  readonly body?: unknown;
  readonly status?: number;
}

let counter: StatementCounter;
let live: InProcess;
let admin: Identity;
let ana: Identity;
let bo: Identity;
let shared: OwnRoom;

beforeAll(async () => {
  counter = new StatementCounter();
  live = await bootInProcess();
  admin = await generateIdentity();
  const { signPubHex: signPub, kexPubHex: kexPub, kexSig } = admin;
  const users = live.bus.service({ id: "users" }) as { add(user: object): Promise<unknown> };
  await users.add({ signPub, kexPub, kexSig, handle: "root", role: "admin" });
  [ana, bo] = [await postUser(live.server, admin, "ana"), await postUser(live.server, admin, "bo")];
  shared = await room(policy("encrypt", "persist"));
});
afterAll(async () => {
  await live[Symbol.asyncDispose]();
  counter[Symbol.dispose]();
});

/** A room of ana with bo as a member. */
async function room(rules = policy("encrypt")): Promise<OwnRoom> {
  return addMembers(live.server, await createRoom(live.server, ana, rules), bo);
}

const keysOf = ({ signPubHex, kexPubHex, kexSig }: Identity) => ({
  ...{ sign_pub: signPubHex, kex_pub: kexPubHex, kex_sig: kexSig },
});

async function invited(): Promise<{ id: string; token: string }> {
  const { json } = await call(live.server.ready.http, admin, "POST", "/invites", { handle: "guest" });
  return json as { id: string; token: string };
}

const hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const asks: Readonly<Record<string, () => Ask | Promise<Ask>>> = {
  "GET /info": () => ({ as: null, target: "/info" }),
  "GET /healthz": () => ({ as: null, target: "/healthz" }),
  "GET /readyz": () => ({ as: null, target: "/readyz" }),
  "GET /openapi.json": () => ({ as: null, target: "/openapi.json" }),
  "POST /rooms": () => ({
    target: "/rooms",
    body: createBody(newRoom(ana, freshSubject(), policy("encrypt", "persist"))),
    status: 201,
  }),
  "GET /rooms/{id}": () => ({ as: bo, target: at(shared) }),
  "DELETE /rooms/{id}": async () => ({ target: at(await room()), status: 204 }),
  "GET /rooms/{id}/members": () => ({ as: bo, target: at(shared, "/members") }),
  "POST /rooms/{id}/members": async () => {
    const made = await createRoom(live.server, ana, policy("encrypt"));
    return { target: at(made, "/members"), body: addBody(made, bo).body, status: 201 };
  },
  "PUT /rooms/{id}/accept": async () => {
    const made = await createRoom(live.server, ana, policy("encrypt"));
    return { as: bo, target: at(await inviteMembers(live.server, made, bo), "/accept"), status: 204 };
  },
  "PUT /rooms/{id}/restore": () => ({
    ...{ target: at(shared, "/restore"), status: 409 },
    body: { statements: [], members: [], keys: [] },
  }),
  "GET /way-back": () => ({ as: admin, target: "/way-back" }),
  "PUT /rooms/{id}/way-back": () => ({
    ...{ as: admin, target: at(shared, "/way-back"), status: 409 },
    body: { hash },
  }),
  "GET /rooms/{id}/statements": () => ({ as: bo, target: at(shared, "/statements") }),
  "GET /rooms/{id}/key": () => ({ as: bo, target: at(shared, "/key") }),
  "DELETE /rooms/{id}/members/{endpoint}": async () => {
    const made = await room();
    return { target: at(made, `/members/${bo.endpoint}`), body: kickBody(made, [bo], [ana]).body, status: 204 };
  },
  "POST /rooms/{id}/rekey": async () => {
    const made = await room();
    return { target: at(made, "/rekey"), body: kickBody(made, [], [ana, bo]).body };
  },
  "PUT /rooms/{id}/members/{endpoint}/role": async () => {
    const made = await room();
    return { target: at(made, `/members/${bo.endpoint}/role`), body: roleBody(made, bo, "owner").body };
  },
  "GET /rooms/{id}/history": () => ({ as: bo, target: at(shared, "/history") }),
  "DELETE /rooms/{id}/messages/{seq}": () => ({ as: bo, target: at(shared, "/messages/1"), status: 404 }),
  "PUT /rooms/{id}/durable": async () => ({ as: bo, target: at(await room(policy("persist")), "/durable") }),
  "DELETE /rooms/{id}/durable": async () => {
    const made = await room(policy("persist"));
    await call(live.server.ready.http, bo, "PUT", at(made, "/durable"));
    return { as: bo, target: at(made, "/durable"), status: 204 };
  },
  "GET /members/{endpoint}/rooms": () => ({ target: `/members/${ana.endpoint}/rooms` }),
  "GET /directory": () => ({ target: "/directory" }),
  "PUT /users/me/keys": async () => {
    const late = await generateIdentity();
    const { sign_pub, ...kex } = keysOf(late);
    await call(live.server.ready.http, admin, "POST", "/users", { sign_pub, handle: "late", role: "member" });
    return { as: late, target: "/users/me/keys", body: kex, status: 204 };
  },
  "GET /users": () => ({ as: admin, target: "/users" }),
  "POST /users": async () => ({
    ...{ as: admin, target: "/users", status: 201 },
    body: { ...keysOf(await generateIdentity()), handle: "x", role: "member" },
  }),
  "PUT /users/{sign_pub}": async () => {
    const user = await postUser(live.server, admin, "one");
    return { as: admin, target: `/users/${user.signPubHex}`, body: { handle: "another" }, status: 204 };
  },
  "POST /users/{sign_pub}/revoke": async () => {
    const user = await postUser(live.server, admin, "gone");
    return { as: admin, target: `/users/${user.signPubHex}/revoke`, status: 204 };
  },
  "POST /users/{sign_pub}/restore": async () => {
    const user = await postUser(live.server, admin, "back");
    await call(live.server.ready.http, admin, "POST", `/users/${user.signPubHex}/revoke`);
    return { as: admin, target: `/users/${user.signPubHex}/restore`, status: 204 };
  },
  // One record: the number of statements grows with the records of a page.
  "GET /admin/rooms": () => ({ as: admin, target: "/admin/rooms?limit=1" }),
  "GET /admin/connections": () => ({ as: admin, target: "/admin/connections?limit=1" }),
  "GET /admin/usage": () => ({ as: admin, target: "/admin/usage?limit=1" }),
  "DELETE /users/{sign_pub}": async () => {
    const user = await postUser(live.server, admin, "gone");
    return { as: admin, target: `/users/${user.signPubHex}`, status: 204 };
  },
  "POST /invites": () => ({ as: admin, target: "/invites", body: { handle: "guest" }, status: 201 }),
  "GET /invites": () => ({ as: admin, target: "/invites" }),
  "DELETE /invites/{id}": async () => ({ as: admin, target: `/invites/${(await invited()).id}`, status: 204 }),
  "POST /register": async () => ({
    ...{ as: null, target: "/register", status: 201 },
    body: { token: (await invited()).token, ...keysOf(await generateIdentity()) },
  }),
  "POST /blobs": () => ({ target: "/blobs", body: randomBytes(64).toString("hex"), status: 201 }),
  "GET /blobs/{hash}": async () => {
    await call(live.server.ready.http, ana, "POST", "/blobs");
    return { target: `/blobs/${hash}` };
  },
  "DELETE /blobs/{hash}": async () => {
    const body = randomBytes(64).toString("hex");
    const { json } = await call(live.server.ready.http, ana, "POST", "/blobs", body);
    return { target: `/blobs/${json.hash}`, status: 204 };
  },
};

/** The cost of one request, while the node has the signer's row charges in its cache, which keeps them for 2 s. */
async function costOf(name: string, ask: Ask): Promise<Counts> {
  await createRoom(live.server, ana, policy("encrypt"));
  await quiet();
  const before = counter.counts;
  const [method = ""] = name.split(" ");
  const caller = ask.as === undefined ? ana : ask.as;
  const reply = await call(live.server.ready.http, caller, method, ask.target, ask.body);
  await quiet();
  const after = counter.counts;
  expect([name, reply.status, reply.text.slice(0, 200)]).toEqual([name, ask.status ?? 200, expect.anything()]);
  return {
    reads: after.reads - before.reads,
    writes: after.writes - before.writes,
    commits: after.commits - before.commits,
  };
}

/** The median cost of a request: once in a while a cache has forgotten something, and the bus reads it again. */
async function middleCostOf(name: string, ask: () => Ask | Promise<Ask>): Promise<Counts> {
  const seen: Counts[] = [];
  for (let round = 0; round < rounds; round++) seen.push(await costOf(name, await ask()));
  const middle = (of: (counts: Counts) => number) => seen.map(of).toSorted((a, b) => a - b)[1] ?? Number.NaN;
  return {
    reads: middle(({ reads }) => reads),
    writes: middle(({ writes }) => writes),
    commits: middle(({ commits }) => commits),
  };
}

/** Waits until all work that a request started has finished. */
async function quiet(): Promise<void> {
  let seen = "";
  for (let looks = 0; looks < quietLooks; looks++) {
    const now = JSON.stringify(counter.counts);
    if (now !== seen) looks = 0;
    seen = now;
    await Bun.sleep(6);
  }
}

test("the number of SQL statements of every route is frozen", async () => {
  const { paths } = (await call(live.server.ready.http, null, "GET", "/openapi.json")).json;
  const names = Object.entries(paths as Record<string, object>).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  expect(names.filter((name) => asks[name] === undefined)).toEqual([]);

  const costs: Record<string, Counts> = {};
  for (const name of names.toSorted()) {
    const ask = asks[name];
    if (ask !== undefined) costs[name] = await middleCostOf(name, ask);
  }
  const lines = Object.entries(costs).map(([name, counts]) => `  ${JSON.stringify(name)}: ${JSON.stringify(counts)}`);
  expectGolden("statements.json", `{\n${lines.join(",\n")}\n}\n`);
}, 30_000);

test("the cost of a list or a room does not grow with its members", async () => {
  const crowd: Identity[] = [];
  for (let i = 0; i < 20; i++) crowd.push(await postUser(live.server, admin, `m${i}`));
  const small = await createRoom(live.server, ana, policy("encrypt"));
  const large = await addMembers(live.server, await createRoom(live.server, ana, policy("encrypt")), ...crowd);
  for (const part of ["", "/members", "/statements", "/key"]) {
    const [one, many] = [
      await middleCostOf("GET", () => ({ target: at(small, part) })),
      await middleCostOf("GET", () => ({ target: at(large, part) })),
    ];
    expect([part, many]).toEqual([part, one]);
  }
});
