/**
 * Races for invites: one token redeemed by many, the limit on pending invites, and the first admin's invite.
 * Invariant: an invite admits at most one user. Source: docs/protocol/identity.md.
 */
import { describe, expect, test } from "bun:test";
import { generateIdentity } from "../../../src/client/crypto/identity.ts";
import type { InviteRecord } from "../../../src/contracts/store.ts";
import { holder, inWorld, outcome, pair, people, startMs, type World } from "./world.ts";

const member = { handle: "ana", role: "member", ttlS: 3_600 } as const;
const atOnce = 16;
const pendingMax = 1_000;

describe("concurrent redemptions", () => {
  test(
    "with the same keys all return the one user",
    inWorld(async ({ users, invites }) => {
      const ana = await generateIdentity();
      const { token } = await invites.create(member);
      const made = await Promise.all(Array.from({ length: atOnce }, () => invites.redeem(holder(token, ana))));
      expect(new Set(made.map(({ signPub, handle }) => `${signPub} ${handle}`)).size).toBe(1);
      expect(await users.list(null, 1_000)).toHaveLength(1);
    }),
  );

  test(
    "with the same keys also do so when the winner is the last to learn of it",
    inWorld(async ({ store, users, invites, over }) => {
      const ana = await generateIdentity();
      const { token } = await invites.create(member);
      const claimed = Promise.withResolvers<void>();
      const others = Promise.withResolvers<void>();
      const slow = over({
        async claimInvite(id, claim) {
          const won = await store.invites.claimInvite(id, claim);
          claimed.resolve();
          await others.promise;
          return won;
        },
      });
      const first = slow.redeem(holder(token, ana));
      await claimed.promise;
      expect(await invites.redeem(holder(token, ana))).toMatchObject({ handle: "ana" });
      others.resolve();
      expect(await first).toMatchObject({ handle: "ana", signPub: ana.signPubHex });
      expect(await users.list(null, 1_000)).toHaveLength(1);
    }),
  );

  test(
    "with different keys succeed for one, and the others get an error",
    inWorld(async ({ users, invites }) => {
      const { token } = await invites.create(member);
      const crowd = await people(atOnce);
      const outcomes = await Promise.all(crowd.map((one) => outcome(invites.redeem(holder(token, one)))));
      expect(outcomes.filter((one) => one === "done")).toHaveLength(1);
      expect(outcomes.filter((one) => one === "conflict")).toHaveLength(atOnce - 1);
      expect(await users.list(null, 1_000)).toHaveLength(1);
    }),
  );

  test(
    "and a cancellation leave the invite either cancelled or redeemed, never both",
    inWorld(async ({ users, invites }) => {
      for (const one of await people(8)) {
        const { invite, token } = await invites.create(member);
        const [redeemed, cancelled] = await Promise.all([
          outcome(invites.redeem(holder(token, one))),
          outcome(invites.cancel(invite.id)),
        ]);
        expect([redeemed === "done", cancelled === "done"].filter(Boolean)).toHaveLength(1);
      }
      expect((await users.list(null, 1_000)).length).toBeLessThanOrEqual(8);
    }),
  );
});

const filledId = (i: number) => i.toString(16).padStart(32, "0");

/** Adds pending invites to those in the store. */
async function fill({ store }: World, count: number, more: Partial<InviteRecord> = {}): Promise<void> {
  const one = (i: number): InviteRecord => ({
    ...{ id: filledId(i), tokenHash: filledId(i).repeat(2), handle: `h${i}` },
    ...{ role: "member", createdAt: startMs, expiresAt: startMs + 3_600_000, usedAt: null, usedSignPub: null },
    ...{ usedKexPub: null, completedAt: null, ...more },
  });
  await Promise.all(Array.from({ length: count }, (_, i) => store.invites.insertInvite(one(i))));
}

describe("the number of pending invites", () => {
  test(
    "is limited, with a fix in the error; a cancelled or redeemed one makes room",
    inWorld(async (world) => {
      const { invites } = world;
      const ana = await generateIdentity();
      const { token } = await invites.create(member);
      await fill(world, pendingMax - 1);
      const refusal = await invites.create(member).catch((error: Error) => error.message);
      expect(refusal).toMatch(/^invite limit reached: 1000 are pending \(cancel one\)$/);
      expect(await outcome(invites.create(member))).toBe("quota");
      await invites.redeem(holder(token, ana));
      expect(await outcome(invites.create(member))).toBe("done");
      expect(await outcome(invites.create(member))).toBe("quota");
      await invites.cancel(filledId(0));
      expect(await outcome(invites.create(member))).toBe("done");
      expect(await outcome(invites.create(member))).toBe("quota");
    }),
  );

  test(
    "stays within its limit when many are created at once",
    inWorld(async (world) => {
      await fill(world, pendingMax - 5);
      const made = await Promise.all(Array.from({ length: atOnce }, () => outcome(world.invites.create(member))));
      expect(made.filter((one) => one === "done")).toHaveLength(5);
      expect(await world.store.invites.listPendingInvites(2 * pendingMax)).toHaveLength(pendingMax);
    }),
  );

  test(
    "does not include expired ones, which make room",
    inWorld(async (world) => {
      const { store, invites, pass } = world;
      await fill(world, pendingMax - 1, { expiresAt: startMs + 1_000 });
      const { invite } = await invites.create(member);
      expect(await outcome(invites.create(member))).toBe("quota");
      pass(1_000);
      expect(await outcome(invites.create(member))).toBe("done");
      const left = await store.invites.listPendingInvites(pendingMax);
      expect(left.map(({ handle }) => handle)).toEqual(["ana", "ana"]);
      expect(left[0]).toEqual(invite);
    }),
  );
});

describe("the first admin's invite", () => {
  test(
    "creates an admin, within an hour, once",
    inWorld(async ({ store, invites, pass }) => {
      const [root, late] = await pair();
      const made = await invites.firstAdmin();
      expect(made?.invite).toMatchObject({ role: "admin", expiresAt: startMs + 3_600_000 });
      const expired = await invites.redeem(holder(made?.token ?? "", root));
      expect(expired).toMatchObject({ role: "admin", status: "active" });
      expect((await store.users.getRoster()).admins).toEqual([root.signPubHex]);
      expect(await outcome(invites.redeem(holder(made?.token ?? "", late)))).toBe("conflict");
      pass(1);
      expect(await invites.firstAdmin()).toBeNull();
    }),
  );

  test(
    "is renewed as long as there is no admin, which voids the previous one; other invites stay valid",
    inWorld(async ({ invites, pass }) => {
      const root = await generateIdentity();
      const kept = [
        await invites.create({ handle: "admin", role: "admin", ttlS: 60 }),
        await invites.create({ handle: "root", role: "admin", ttlS: 3_600 }),
        await invites.create({ handle: "admin", role: "member", ttlS: 3_600 }),
      ];
      const [before, now] = [await invites.firstAdmin(), await invites.firstAdmin()];
      expect(before?.token).not.toBe(now?.token);
      expect(await outcome(invites.redeem(holder(before?.token ?? "", root)))).toBe("not_found");
      expect((await invites.pending()).map(({ id }) => id).sort()).toEqual(
        [...kept, now].map((made) => made?.invite.id ?? "").sort(),
      );
      pass(3_600_000);
      expect(await outcome(invites.redeem(holder(now?.token ?? "", root)))).toBe("gone");
      const again = await invites.firstAdmin();
      expect(await outcome(invites.redeem(holder(again?.token ?? "", root)))).toBe("done");
    }),
  );

  test(
    "is issued again when the last admin is removed by a command on the host",
    inWorld(async ({ users, invites }) => {
      const [root, heir] = await pair();
      await invites.redeem(holder((await invites.firstAdmin())?.token ?? "", root));
      expect(await outcome(users.revoke(root.signPubHex, { keepAdmin: true }))).toBe("conflict");
      await users.revoke(root.signPubHex, { keepAdmin: false });
      const made = await invites.firstAdmin();
      expect(await outcome(invites.redeem(holder(made?.token ?? "", root)))).toBe("conflict");
      const next = await invites.firstAdmin();
      expect(await outcome(invites.redeem(holder(next?.token ?? "", heir)))).toBe("done");
    }),
  );
});
