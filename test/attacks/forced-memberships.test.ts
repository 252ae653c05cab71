/**
 * Attack: users force a victim into 1,000 rooms, so that the victim's login reply exceeds nats-server's limit, and add
 * and remove the victim in a loop, so that the victim's client reconnects all the time.
 * Source: docs/protocol/logins.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { Server, until } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import {
  addBody,
  at,
  call,
  createRoom,
  freshSubject,
  kickBody,
  type OwnRoom,
  policy,
  postUser,
} from "../support/peer.ts";
import { pub, rawPeer } from "../support/raw-nats.ts";

/** How many rooms are forced on each victim in total, and how many one adder may force. */
const forced = { all: 1_000, byOne: 100 } as const;

let server: Server;
let people: Cast<"victim">;
let adders: Identity[];

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=1000000"] });
  people = await castOf(server, "victim");
  const names = Array.from({ length: forced.all / forced.byOne }, (_, n) => `adder ${n}`);
  adders = await Promise.all(names.map((name) => postUser(server, people.admin, name)));
}, 30_000);
afterAll(() => server[Symbol.asyncDispose]());

const long = (): string => freshSubject().padEnd(200, "x");

/** Reports whether a member can publish and receive in a room. */
async function worksFor(user: Identity, { state }: OwnRoom): Promise<boolean> {
  using peer = await rawPeer(server.ready.nats, user);
  return (await peer.exchange(`SUB ${state.subject} 1\r\n`, pub(state.subject, "here"))).includes("here");
}

test("1,000 forced memberships of the longest subjects block neither a member's nor an admin's data plane", async () => {
  const victims = [people.victim, people.admin];
  const own = await Promise.all(victims.map((victim) => createRoom(server, victim, policy())));
  const force = async (adder: Identity): Promise<void> => {
    for (let n = 0; n < forced.byOne; n++) {
      const room = await createRoom(server, adder, policy("persist"), long());
      const { body } = addBody(room, ...victims);
      expect((await call(server.ready.http, adder, "POST", at(room, "/members"), body)).status).toBe(201);
    }
    const more = await createRoom(server, adder, policy());
    const reply = await call(server.ready.http, adder, "POST", at(more, "/members"), addBody(more, people.victim).body);
    expect([reply.status, reply.json.code]).toEqual([429, "quota"]);
  };
  await Promise.all(adders.map(force));
  for (const [n, victim] of victims.entries()) {
    expect(await worksFor(victim, own[n] as OwnRoom)).toBe(true);
    const all = await call(server.ready.http, victim, "GET", `/members/${victim.endpoint}/rooms?accepted=false`);
    expect((all.json as unknown as unknown[]).length).toBe(forced.all);
  }
}, 120_000);

test("adding and removing a member in a loop closes none of their connections", async () => {
  const mine = await createRoom(server, people.victim, policy());
  using peer = await rawPeer(server.ready.nats, people.victim);
  await peer.exchange(`SUB ${mine.state.subject} 1\r\n`);
  const [adder] = adders;
  const user = await postUser(server, people.admin, "looped");
  if (adder === undefined) throw new Error("no adder");
  using other = await rawPeer(server.ready.nats, user);
  for (let n = 0; n < 20; n++) {
    const room = await createRoom(server, adder, policy());
    const added = addBody(room, user);
    expect((await call(server.ready.http, adder, "POST", at(room, "/members"), added.body)).status).toBe(201);
    const kick = kickBody(added.room, [user], [adder]);
    const target = at(room, n % 2 === 0 ? `/members/${user.endpoint}` : "");
    const body = n % 2 === 0 ? kick.body : undefined;
    expect((await call(server.ready.http, adder, "DELETE", target, body)).status).toBe(204);
  }
  // A disconnect would happen within 2 s.
  const end = performance.now() + 2_500;
  await until(
    "the time limit for a disconnect is over",
    () => performance.now() > end || other.isClosed || peer.isClosed,
  );
  expect([other.isClosed, peer.isClosed]).toEqual([false, false]);
  expect(await peer.exchange(pub(mine.state.subject, "still here"))).toContain("still here");
}, 60_000);
