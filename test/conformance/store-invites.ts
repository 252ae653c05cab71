import { describe, expect, test } from "bun:test";
import type { OpenStore } from "./store.ts";
import { callers, epochMs, failure, inviteSample, keySample, upTo, winners, withStore } from "./store-samples.ts";

const claimOf = (n: number) => ({ signPub: keySample(n), kexPub: keySample(1_000 + n), at: epochMs + n });

/** Cases for invites and their single use. */
export function inviteCases(open: OpenStore): void {
  describe("invites", () => {
    test(
      "every field is stored and returned",
      withStore(open, async ({ invites }) => {
        const used = { usedAt: epochMs, usedSignPub: keySample(1), usedKexPub: keySample(2), completedAt: epochMs + 1 };
        const samples = [inviteSample(1), inviteSample(2, { role: "admin", expiresAt: 1 }), inviteSample(3, used)];
        for (const invite of samples) await invites.insertInvite(invite);
        for (const invite of samples) expect(await invites.getInvite(invite.id)).toEqual(invite);
      }),
    );

    test(
      "a miss returns null, false or an empty list",
      withStore(open, async ({ invites }) => {
        expect(await invites.getInvite(inviteSample(1).id)).toBeNull();
        expect(await invites.claimInvite(inviteSample(1).id, claimOf(1))).toBe(false);
        expect(await invites.getInvite(inviteSample(1).id)).toBeNull();
        expect(await invites.deleteInvite(inviteSample(1).id)).toBe(false);
        expect(await invites.listPendingInvites(10)).toEqual([]);
      }),
    );

    test(
      "a known id conflicts, and its row is unchanged",
      withStore(open, async ({ invites }) => {
        await invites.insertInvite(inviteSample(1));
        expect((await failure(invites.insertInvite(inviteSample(1, { handle: "other" })))).code).toBe("conflict");
        expect(await invites.getInvite(inviteSample(1).id)).toEqual(inviteSample(1));
      }),
    );

    test(
      "of many claims exactly one wins, and the invite names the winner",
      withStore(open, async ({ invites }) => {
        const invite = inviteSample(1);
        await invites.insertInvite(invite);
        await invites.insertInvite(inviteSample(2));
        const won = await winners(upTo(callers).map((n) => invites.claimInvite(invite.id, claimOf(n))));
        expect(won).toHaveLength(1);
        const { at, signPub, kexPub } = claimOf(won[0] ?? -1);
        const spent = { ...invite, usedAt: at, usedSignPub: signPub, usedKexPub: kexPub };
        expect(await invites.getInvite(invite.id)).toEqual(spent);
        expect(await invites.claimInvite(invite.id, claimOf(callers))).toBe(false);
        expect(await invites.getInvite(invite.id)).toEqual(spent);
        expect(await invites.getInvite(inviteSample(2).id)).toEqual(inviteSample(2));
      }),
    );

    test(
      "a deleted invite cannot be claimed",
      withStore(open, async ({ invites }) => {
        await invites.insertInvite(inviteSample(1));
        expect(await invites.deleteInvite(inviteSample(1).id)).toBe(true);
        expect(await invites.deleteInvite(inviteSample(1).id)).toBe(false);
        expect(await invites.claimInvite(inviteSample(1).id, claimOf(1))).toBe(false);
        expect(await invites.getInvite(inviteSample(1).id)).toBeNull();
      }),
    );

    test(
      "a used invite is completed once and cannot be deleted, an unused one cannot be completed",
      withStore(open, async ({ invites }) => {
        const invite = inviteSample(1);
        await invites.insertInvite(invite);
        expect(await invites.completeInvite(invite.id, 5)).toBe(false);
        expect(await invites.getInvite(invite.id)).toEqual(invite);
        await invites.claimInvite(invite.id, claimOf(1));
        const won = await winners(upTo(callers).map((n) => invites.completeInvite(invite.id, 6 + n)));
        expect(won).toHaveLength(1);
        expect((await invites.getInvite(invite.id))?.completedAt).toBe(6 + (won[0] ?? -1));
        expect(await invites.completeInvite(invite.id, 5)).toBe(false);
        expect(await invites.completeInvite(inviteSample(2).id, 5)).toBe(false);
        expect(await invites.deleteInvite(invite.id)).toBe(false);
        expect(await invites.getInvite(invite.id)).not.toBeNull();
      }),
    );

    test(
      "pending invites are listed by creation time, without the used ones",
      withStore(open, async ({ invites }) => {
        const samples = upTo(6).map((n) => inviteSample(n, { createdAt: epochMs - n, expiresAt: n }));
        for (const invite of samples) await invites.insertInvite(invite);
        await invites.claimInvite(inviteSample(4).id, claimOf(1));
        const pending = samples.filter((_, n) => n !== 4).reverse();
        expect(await invites.listPendingInvites(100)).toEqual(pending);
        expect(await invites.listPendingInvites(2)).toEqual(pending.slice(0, 2));
      }),
    );

    test(
      "pending invites stop at the limit, even when added concurrently; a used one makes room",
      withStore(open, async ({ invites }) => {
        const won = await winners(upTo(callers).map((n) => invites.insertInvite(inviteSample(n), 5)));
        expect(won).toHaveLength(5);
        const { id } = inviteSample(won[0] ?? 0);
        const lost = inviteSample(upTo(callers).find((n) => !won.includes(n)) ?? 0);
        expect(await invites.getInvite(lost.id)).toBeNull();
        expect(await invites.insertInvite(lost, 5)).toBe(false);
        expect(await invites.claimInvite(id, { signPub: keySample(1), kexPub: keySample(2), at: epochMs })).toBe(true);
        expect(await invites.insertInvite(lost, 5)).toBe(true);
        expect(await invites.insertInvite(inviteSample(100), 5)).toBe(false);
        // An invite that was used before it was imported does not count as pending.
        expect(await invites.insertInvite(inviteSample(101, { usedAt: epochMs }), 5)).toBe(true);
        expect(await invites.listPendingInvites(100)).toHaveLength(5);
      }),
    );
  });
}
