/**
 * Many clients redeem invites at once on three nodes while the leader is killed.
 * Source: docs/protocol/identity.md, docs/threat-model.md.
 */
import { expect, test } from "bun:test";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { buckets } from "../../src/wire/names.ts";
import { invite, register } from "../support/accounts.ts";
import { castOf } from "../support/inside.ts";
import { call } from "../support/peer.ts";
import { Nodes, nodesCount } from "./chaos/nodes.ts";

/** The target is 300; fewer by default, for busy machines. */
const invites = Number(process.env.UNIBUS_INVITES ?? 60);
const redeemers = 32;
const crowds = 3;
const timeoutMs = 60_000 + invites * 1_000;

test(
  `${invites} invites, each redeemed by ${redeemers} at once while leaders are killed: each succeeds once`,
  async () => {
    await using nodes = await Nodes.start();
    const { admin } = await castOf(nodes.at(0));
    if (admin === undefined) throw new Error("there is no admin");
    const waiting: [string, string][] = [];
    for (let made = 0; made < invites; made++) {
      const handle = `h${made}`;
      waiting.push([handle, (await invite(nodes.at(made % nodesCount), admin, { handle })).token]);
    }
    const statuses = new Map<number, number>();
    const winners = new Map<string, string[]>();
    let redeemed = 0;
    /** A client with no answer, or an inconclusive one, retries at the next node. */
    const redeem = async (token: string, user: Identity, first: number): Promise<boolean> => {
      for (let node = first; ; node = (node + 1) % nodesCount) {
        const status = (await register(nodes.url(node), token, user).catch(() => null))?.status ?? 0;
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        if (status === 201 || status === 409) return status === 201;
        expect([0, 503]).toContain(status);
        await Bun.sleep(20);
      }
    };
    const killed = Promise.withResolvers<void>();
    const crowd = async (): Promise<void> => {
      const people = await Promise.all(Array.from({ length: redeemers }, () => generateIdentity()));
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        const [handle, token] = next;
        const won = await Promise.all(people.map((user, index) => redeem(token, user, index % nodesCount)));
        const names = people.flatMap((user, index) => (won[index] ? [user.signPubHex] : []));
        winners.set(handle, names);
        for (const [index, isIn] of won.entries()) if (isIn) people[index] = await generateIdentity();
        if (++redeemed === Math.floor(invites / 2)) killed.resolve();
      }
    };
    const killing = (async () => {
      await killed.promise;
      const leader = await nodes.leaderOf(buckets.invites);
      await nodes.kill(leader);
      await nodes.boot(leader);
    })();
    await Promise.all([killing, ...Array.from({ length: crowds }, crowd)]);
    await nodes.untilReady();
    console.log(`invites: ${JSON.stringify(Object.fromEntries(statuses))}`);
    for (const url of nodes.urls) {
      const { json } = await call(url, admin, "GET", "/users");
      const users = Map.groupBy(json.users as { handle: string; sign_pub: string }[], ({ handle }) => handle);
      expect(winners.size).toBe(invites);
      for (const [handle, won] of winners) {
        expect([handle, won.length]).toEqual([handle, 1]);
        expect([handle, users.get(handle)?.map(({ sign_pub }) => sign_pub)]).toEqual([handle, won]);
      }
      expect(users.size).toBe(invites + 1);
      const pending = (await call(url, admin, "GET", "/invites")).json.invites as { handle: string }[];
      // Each node that started without an admin created a link for the first admin.
      expect(pending.filter(({ handle }) => handle !== "admin")).toEqual([]);
    }
  },
  timeoutMs,
);
