/** Invites redeemed by many at once, also across a kill -9: each works at most once, no acknowledged use is lost. */
import { expect, test } from "bun:test";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { firstAdmin, invite, register } from "../support/accounts.ts";
import { Folder, Server } from "../support/executable.ts";
import { call } from "../support/peer.ts";

const invites = 60;
const redeemers = 32;
const args = ["--set", "http.rate=1000000"];

const fresh = (count: number): Promise<Identity[]> =>
  Promise.all(Array.from({ length: count }, () => generateIdentity()));

/** Tokens of fresh invites, by handle. */
async function tokens(server: Server, admin: Identity, count: number, prefix: string): Promise<Map<string, string>> {
  const handles = Array.from({ length: count }, (_, index) => `${prefix}${index}`);
  const made = await Promise.all(handles.map((handle) => invite(server, admin, { handle })));
  return new Map(made.map(({ token }, index) => [handles[index] ?? "", token]));
}

/** The signing keys of all users, by handle. */
async function usersByHandle(server: Server, admin: Identity): Promise<Map<string, string[]>> {
  const { json } = await call(server.ready.http, admin, "GET", "/users");
  const found = new Map<string, string[]>();
  for (const { handle, sign_pub } of json.users as { handle: string; sign_pub: string }[]) {
    found.set(handle, [...(found.get(handle) ?? []), sign_pub]);
  }
  return found;
}

test(`${invites} invites, each redeemed by ${redeemers} at once: each is claimed exactly once`, async () => {
  await using server = await Server.start({ args });
  const admin = await firstAdmin(server);
  const made = await tokens(server, admin, invites, "a");
  const winners = new Map<string, string[]>();
  const statuses = new Map<number, number>();
  const waiting = [...made];
  const worker = async (): Promise<void> => {
    const crowd = await fresh(redeemers);
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [handle, token] = next;
      const replies = await Promise.all(crowd.map((one) => register(server.ready.http, token, one)));
      for (const { status } of replies) statuses.set(status, (statuses.get(status) ?? 0) + 1);
      const won = replies.flatMap(({ status }, i) => (status === 201 ? [i] : []));
      winners.set(
        handle,
        won.map((i) => crowd[i]?.signPubHex ?? ""),
      );
      // A registered user redeems no other invite, so a new identity takes its place.
      for (const i of won) crowd[i] = await generateIdentity();
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  expect(Object.fromEntries(statuses)).toEqual({ 201: invites, 409: invites * (redeemers - 1) });
  const users = await usersByHandle(server, admin);
  for (const [handle, won] of winners) expect([handle, users.get(handle)]).toEqual([handle, won]);
  expect(users.size).toBe(invites + 1);
  expect((await call(server.ready.http, admin, "GET", "/invites")).json.invites).toEqual([]);
}, 60_000);

test("kill -9 during redemptions: each succeeds at most once, none acknowledged is lost, and a retry succeeds", async () => {
  using folder = new Folder();
  const count = 120;
  const crowds = new Map<string, Identity[]>();
  const acknowledged = new Map<string, string>();
  let made = new Map<string, string>();
  let admin: Identity;
  {
    await using server = await Server.start({ folder, args });
    admin = await firstAdmin(server);
    made = await tokens(server, admin, count, "b");
    for (const handle of made.keys()) crowds.set(handle, await fresh(2));
    const redeeming = [...made].flatMap(([handle, token]) =>
      (crowds.get(handle) ?? []).map(async (one) => {
        // A connection that breaks counts as no reply.
        const reply = await register(server.ready.http, token, one).catch(() => null);
        if (reply?.status === 201) acknowledged.set(handle, one.signPubHex);
        if (acknowledged.size === count / 4) await server.end("SIGKILL");
      }),
    );
    await Promise.all(redeeming);
    await server.end("SIGKILL");
  }
  expect(acknowledged.size).toBeGreaterThanOrEqual(count / 4);
  await using server = await Server.start({ folder, args });
  const after = await usersByHandle(server, admin);
  for (const [handle, signPub] of acknowledged) expect([handle, after.get(handle)]).toEqual([handle, [signPub]]);
  const replies = await Promise.all(
    [...made].flatMap(([handle, token]) =>
      (crowds.get(handle) ?? []).map((one) => register(server.ready.http, token, one)),
    ),
  );
  expect(replies.filter(({ status }) => status === 201)).toHaveLength(count);
  expect(replies.filter(({ status }) => status === 409)).toHaveLength(count);
  const users = await usersByHandle(server, admin);
  for (const handle of made.keys()) expect([handle, users.get(handle)?.length]).toEqual([handle, 1]);
  for (const [handle, signPub] of acknowledged) expect(users.get(handle)).toEqual([signPub]);
}, 60_000);
