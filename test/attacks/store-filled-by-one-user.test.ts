/**
 * One user fills the store: writes that grow it are refused, and the user can still be removed.
 * Source: docs/protocol/logins.md, docs/threat-model.md.
 */
import { expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { Server, until } from "../support/executable.ts";
import { castOf, inside, jetStream } from "../support/inside.ts";
import {
  addMembers,
  at,
  call,
  createBody,
  createRoom,
  freshSubject,
  kick,
  kickBody,
  leave,
  newRoom,
  type OwnRoom,
  policy,
  postUser,
  type Reply,
  send,
  signedHeaders,
} from "../support/peer.ts";

/** The smallest configurable store, in bytes. */
const storeBytes = 16_777_216;
/** The reserve for removals, and the part of it that is only for admins. Source: docs/protocol/limits.md. */
const reserveBytes = storeBytes * 0.05;
const lastBytes = reserveBytes / 5;
/** The part of the store that one user fills, in bytes. Others filled the rest before. */
const ownBytes = storeBytes / 4;
/** More rekeys than fit into the store, and the number of members whose keys fill it. */
const rekeysMax = 500;
const crowdSize = 200;

/** Builds a new epoch with noise as keys: a server cannot distinguish a sealed key from noise. */
function rekeyWithNoise(room: OwnRoom, members: readonly Identity[]): { body: unknown; room: OwnRoom } {
  const { body, room: next } = kickBody(room, [], []);
  const sealed_key = randomBytes(80).toString("base64");
  return { body: { ...body, keys: members.map(({ endpoint }) => ({ endpoint, sealed_key })) }, room: next };
}

async function usage(server: Server): Promise<number> {
  const ctl = await inside(server, "CTL");
  const { storage } = await jetStream<{ storage: number }>(ctl, "INFO");
  await ctl.close();
  return storage;
}

/** Writes noise into the store's account until only `free` bytes are free. */
async function fillTo(server: Server, free: number): Promise<void> {
  const ctl = await inside(server, "CTL");
  const config = { name: "NOISE", subjects: ["noise"], storage: "file" };
  await jetStream(ctl, "STREAM.CREATE.NOISE", config);
  for (let writes = 0; writes < 4_096; writes++) {
    const { storage } = await jetStream<{ storage: number }>(ctl, "INFO");
    const excess = storageFree(storage) - free;
    if (excess <= 0) break;
    await ctl.request("noise", new Uint8Array(Math.min(262_144, Math.max(8_192, excess / 2))));
  }
  await ctl.close();
}

const storageFree = (storage: number) => storeBytes - storage;
const outcome = ({ status, json }: Reply) => [status, json.code];
const full = (what: RegExp) => ({ status: 503, json: { code: "unavailable", error: expect.stringMatching(what) } });

test("a user who fills the shared store is refused and removed, which frees the space", async () => {
  await using server = await Server.start({
    args: [
      ...["--flag", "decentralized=on", "--set", `nats-embedded.ctl_bytes_max=${storeBytes}`],
      // Lifts the quotas that would stop one user earlier: many users together would exceed them.
      ...["--set", "http.rate=100000", "--set", "rooms.statements_per_minute=0"],
    ],
  });
  const { http } = server.ready;
  const { admin, ana, eve, bob, cy, dee } = await castOf(server, "ana", "eve", "bob", "cy", "dee");
  const crowd: Identity[] = [];
  while (crowd.length < crowdSize) crowd.push(await postUser(server, admin, `u${crowd.length}`));
  let quiet = await addMembers(server, await createRoom(server, ana, policy("encrypt")), bob, cy, dee);
  const other = await addMembers(server, await createRoom(server, ana, policy()), bob, cy);
  let loud = await addMembers(server, await createRoom(server, eve, policy("encrypt")), ...crowd);

  await fillTo(server, reserveBytes + ownBytes);
  let reply: Reply | undefined;
  for (let n = 0; n < rekeysMax; n++) {
    const next = rekeyWithNoise(loud, [eve, ...crowd]);
    reply = await call(http, eve, "POST", at(loud, "/rekey"), next.body);
    if (reply.status !== 200) break;
    loud = next.room;
  }
  expect(reply).toMatchObject(full(/^the store is full: the rest is reserved for removals \(.+\)$/));
  expect(storageFree(await usage(server))).toBeGreaterThan(lastBytes);

  // The server reports it and refuses every write that grows the store, from any caller.
  const ready = await send(`${http}/readyz`);
  expect(ready.status).toBe(503);
  expect(ready.json.plugins).toMatchObject({
    "store-kv": { ok: false, detail: expect.stringMatching(/^the store is full \(/) },
  });
  const anyRoom = createBody(newRoom(ana, freshSubject(), policy()));
  const blob = new Uint8Array(5);
  const blobHeaders = signedHeaders(ana, { url: http, method: "POST", target: "/blobs", body: blob });
  const growing = [
    await call(http, ana, "POST", "/rooms", anyRoom),
    await call(http, admin, "POST", "/invites", { handle: "late" }),
    await call(http, ana, "PUT", at(quiet, "/durable")),
    await call(http, ana, "POST", at(other, "/members"), {}),
    await send(`${http}/blobs`, { method: "POST", headers: blobHeaders, body: blob }),
    await send(`${http}/register`, { method: "POST", body: "{}" }),
  ];
  expect(growing.map(outcome)).toEqual(growing.map(() => [503, "unavailable"]));
  expect((await call(http, ana, "GET", at(quiet))).status).toBe(200);

  // Removals take effect: one kick or leave per minute and user.
  quiet = await kick(server, quiet, dee, ana, bob, cy);
  const second = kickBody(quiet, [cy], [ana, bob]);
  const tooSoon = await call(http, ana, "DELETE", at(quiet, `/members/${cy.endpoint}`), second.body);
  expect(outcome(tooSoon)).toEqual([429, "rate_limited"]);
  expect(Number(tooSoon.headers.get("retry-after"))).toBeGreaterThan(0);
  // A removal that is refused for another reason does not use up the allowance.
  expect((await call(http, cy, "DELETE", at(quiet, `/members/${ana.endpoint}`), second.body)).status).toBe(403);
  expect((await leave(server, quiet, cy)).status).toBe(204);
  expect((await leave(server, other, cy)).status).toBe(429);
  expect((await call(http, bob, "DELETE", at(quiet))).status).toBe(403);

  // The last part is for admins only, and is enough for them.
  await fillTo(server, lastBytes / 2);
  await until("the server has noticed", async () => (await call(http, bob, "GET", at(quiet))).status === 503);
  expect(outcome(await leave(server, quiet, bob))).toEqual([503, "unavailable"]);
  expect((await call(http, admin, "POST", `/users/${eve.signPubHex}/revoke`)).status).toBe(204);
  expect((await call(http, eve, "GET", "/directory")).status).toBe(401);
  expect((await call(http, admin, "DELETE", `/users/${bob.signPubHex}`)).status).toBe(204);
  expect((await call(http, admin, "DELETE", at(loud))).status).toBe(204);

  await until("there is space again", async () => (await send(`${http}/readyz`)).status === 200);
  expect((await call(http, ana, "POST", "/rooms", anyRoom)).status).toBe(201);
}, 180_000);
