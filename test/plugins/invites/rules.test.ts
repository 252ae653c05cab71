/**
 * The rules of invites: lifetime, role and handle, which keys may redeem one, and that repeating a redemption with the
 * same keys succeeds again. Source: docs/protocol/identity.md.
 */
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { generateIdentity } from "../../../src/client/crypto/identity.ts";
import { holder, inWorld, outcome, pair, startMs } from "./world.ts";

const member = { handle: "ana", role: "member", ttlS: 3_600 } as const;
const hourMs = 3_600_000;
const resumeMs = 10 * 60_000;
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

describe("an invite", () => {
  test(
    "has a token that is not in the store, only its hash",
    inWorld(async ({ file, store, invites }) => {
      const { invite, token } = await invites.create(member);
      expect(token).toMatch(/^[0-9a-f]{64}$/);
      expect(invite).toMatchObject({ id: sha256(token).slice(0, 32), tokenHash: sha256(token), usedAt: null });
      expect(await store.invites.getInvite(invite.id)).toEqual(invite);
      for (const part of [file, `${file}-wal`]) expect(readFileSync(part, "latin1")).not.toContain(token);
      expect((await invites.create(member)).token).not.toBe(token);
    }),
  );

  test(
    "gives its handle and role to the user who redeems it, and records the user and the time",
    inWorld(async ({ store, invites, pass }) => {
      const ana = await generateIdentity();
      const { invite, token } = await invites.create({ ...member, role: "admin" });
      pass(1_000);
      const user = await invites.redeem(holder(token, ana));
      expect(user).toMatchObject({ handle: "ana", role: "admin", status: "active", endpoint: ana.endpoint });
      expect(await store.users.getUser(ana.signPubHex)).toMatchObject({ signPub: ana.signPubHex, kexSig: ana.kexSig });
      const at = startMs + 1_000;
      const used = { usedAt: at, usedSignPub: ana.signPubHex, usedKexPub: ana.kexPubHex, completedAt: at };
      expect(await store.invites.getInvite(invite.id)).toEqual({ ...invite, ...used });
      expect(await invites.pending()).toEqual([]);
    }),
  );

  test(
    "accepts keys in either case, and stores them in one",
    inWorld(async ({ invites }) => {
      const ana = await generateIdentity();
      const { token } = await invites.create(member);
      const { signPub, kexPub, ...rest } = holder(token, ana);
      const loud = { ...rest, signPub: signPub.toUpperCase(), kexPub: kexPub.toUpperCase() };
      expect(await invites.redeem(loud)).toMatchObject({ signPub, kexPub });
      expect(await invites.redeem(holder(token, ana))).toMatchObject({ signPub, kexPub });
    }),
  );

  test(
    "can be redeemed once",
    inWorld(async ({ store, invites }) => {
      const [ana, bo] = await pair();
      const { token } = await invites.create(member);
      await invites.redeem(holder(token, ana));
      expect(await outcome(invites.redeem(holder(token, bo)))).toBe("conflict");
      expect(await store.users.getUser(bo.signPubHex)).toBeNull();
    }),
  );

  test(
    "can be redeemed until its expiry and not later",
    inWorld(async ({ store, invites, pass }) => {
      const [ana, bo] = await pair();
      const [first, second] = [await invites.create(member), await invites.create(member)];
      pass(hourMs - 1);
      expect(await outcome(invites.redeem(holder(first.token, ana)))).toBe("done");
      expect(await invites.pending()).toHaveLength(1);
      pass(1);
      expect(await outcome(invites.redeem(holder(second.token, bo)))).toBe("gone");
      expect(await invites.pending()).toEqual([]);
      expect((await store.invites.getInvite(second.invite.id))?.usedAt).toBeNull();
      // Expiry applies to claims: a user that claimed in time can repeat the request.
      expect(await outcome(invites.redeem(holder(first.token, ana)))).toBe("done");
    }),
  );

  test(
    "whose expiry cannot be read counts as expired",
    inWorld(async ({ store, invites, over }) => {
      const ana = await generateIdentity();
      const { invite, token } = await invites.create(member);
      const unread = { ...invite, expiresAt: Number.NaN };
      const damaged = over({ getInvite: async () => unread, listPendingInvites: async () => [unread] });
      expect(await outcome(damaged.redeem(holder(token, ana)))).toBe("gone");
      expect(await damaged.pending()).toEqual([]);
      expect((await store.invites.getInvite(invite.id))?.usedAt).toBeNull();
    }),
  );

  test(
    "that does not exist or was cancelled is not found; a redeemed one cannot be cancelled",
    inWorld(async ({ invites }) => {
      const ana = await generateIdentity();
      expect(await outcome(invites.redeem(holder("0".repeat(64), ana)))).toBe("not_found");
      const { invite, token } = await invites.create(member);
      expect(await outcome(invites.redeem(holder(token.toUpperCase(), ana)))).toBe("not_found");
      await invites.cancel(invite.id);
      expect(await outcome(invites.redeem(holder(token, ana)))).toBe("not_found");
      expect(await outcome(invites.cancel(invite.id))).toBe("not_found");
      const used = await invites.create(member);
      await invites.redeem(holder(used.token, ana));
      expect(await outcome(invites.cancel(used.invite.id))).toBe("not_found");
      expect(await outcome(invites.redeem(holder(used.token, ana)))).toBe("done");
    }),
  );
});

describe("keys", () => {
  test(
    "that are invalid are refused before the token is spent",
    inWorld(async ({ store, invites }) => {
      const [ana, bo] = await pair();
      const { invite, token } = await invites.create(member);
      const good = holder(token, ana);
      const flipped = Buffer.from(good.kexSig, "base64");
      flipped[3] = (flipped[3] ?? 0) ^ 1;
      const bad: Readonly<Record<string, Partial<typeof good>>> = {
        "sign_pub of small order": { signPub: `01${"00".repeat(31)}` },
        "sign_pub that is not canonical": { signPub: `ee${"ff".repeat(30)}7f` },
        "sign_pub that is not a point": { signPub: `02${"00".repeat(31)}` },
        "kex_pub of low order": { kexPub: "00".repeat(32) },
        "another kex_pub": { kexPub: bo.kexPubHex },
        "another's kex_sig": { kexSig: bo.kexSig },
        "another's sign_pub": { signPub: bo.signPubHex },
        "a kex_sig with a bit changed": { kexSig: flipped.toString("base64") },
        "a kex_sig that is not base64": { kexSig: "?".repeat(88) },
      };
      for (const [what, change] of Object.entries(bad)) {
        expect([what, await outcome(invites.redeem({ ...good, ...change }))]).toEqual([what, "invalid"]);
      }
      expect(await store.invites.getInvite(invite.id)).toEqual(invite);
      expect(await outcome(invites.redeem(good))).toBe("done");
    }),
  );

  test(
    "that are already registered spend the token, and leave their user unchanged",
    inWorld(async ({ store, users, invites, pass }) => {
      const [ana, bo] = await pair();
      await invites.redeem(holder((await invites.create(member)).token, ana));
      const before = await store.users.getUser(ana.signPubHex);
      for (const status of ["active", "revoked"] as const) {
        pass(1_000);
        const { token } = await invites.create({ ...member, handle: "other", role: "admin" });
        expect(await outcome(invites.redeem(holder(token, ana)))).toBe("conflict");
        expect(await outcome(invites.redeem(holder(token, ana)))).toBe("conflict");
        expect(await outcome(invites.redeem(holder(token, bo)))).toBe("conflict");
        const user = await store.users.getUser(ana.signPubHex);
        expect({ ...user, revision: 0 }).toMatchObject({ handle: "ana", role: "member", status });
        if (status === "active") {
          expect(user).toEqual(before);
          await users.revoke(ana.signPubHex, { keepAdmin: true });
        }
      }
      expect(await store.users.getUser(bo.signPubHex)).toBeNull();
    }),
  );
});

describe("repeating a redemption with the same token and keys", () => {
  test(
    "returns the same answer for ten minutes",
    inWorld(async ({ store, invites, pass }) => {
      const ana = await generateIdentity();
      const { token } = await invites.create({ ...member, ttlS: 60 });
      const user = await invites.redeem(holder(token, ana));
      pass(resumeMs - 1);
      expect({ ...(await invites.redeem(holder(token, ana))), revision: 0 }).toEqual(user);
      pass(1);
      expect(await outcome(invites.redeem(holder(token, ana)))).toBe("conflict");
      expect(await store.users.listUsers(null, 10)).toHaveLength(1);
    }),
  );

  test(
    "but another kex key is refused",
    inWorld(async ({ invites }) => {
      const [ana, bo] = await pair();
      const { token } = await invites.create(member);
      await invites.redeem(holder(token, ana));
      const text = `unibus-keys-v1\n${ana.signPubHex}\n${bo.kexPubHex}`;
      const kexSig = Buffer.from(await ana.sign(text)).toString("base64");
      const other = { ...holder(token, ana), kexPub: bo.kexPubHex, kexSig };
      expect(await outcome(invites.redeem(other))).toBe("conflict");
    }),
  );

  test(
    "is refused once the user is revoked or deleted, and does not create the user again",
    inWorld(async ({ store, users, invites }) => {
      const [ana, bo] = await pair();
      const [first, second] = [await invites.create(member), await invites.create(member)];
      await invites.redeem(holder(first.token, ana));
      await users.revoke(ana.signPubHex, { keepAdmin: true });
      expect(await outcome(invites.redeem(holder(first.token, ana)))).toBe("conflict");
      expect((await store.users.getUser(ana.signPubHex))?.status).toBe("revoked");
      await invites.redeem(holder(second.token, bo));
      await users.remove(bo.signPubHex, { keepAdmin: true });
      expect(await outcome(invites.redeem(holder(second.token, bo)))).toBe("conflict");
      expect(await store.users.getUser(bo.signPubHex)).toBeNull();
    }),
  );

  test(
    "completes a claim that a crash interrupted, within ten minutes",
    inWorld(async ({ store, invites, pass }) => {
      const [ana, bo] = await pair();
      const [first, late] = [await invites.create(member), await invites.create(member)];
      const claim = ({ signPubHex: signPub, kexPubHex: kexPub }: typeof ana) => ({ signPub, kexPub, at: startMs });
      await store.invites.claimInvite(first.invite.id, claim(ana));
      await store.invites.claimInvite(late.invite.id, claim(bo));
      expect(await outcome(invites.redeem(holder(first.token, bo)))).toBe("conflict");
      pass(resumeMs - 1);
      expect(await invites.redeem(holder(first.token, ana))).toMatchObject({ handle: "ana", status: "active" });
      pass(1);
      expect(await outcome(invites.redeem(holder(late.token, bo)))).toBe("conflict");
      expect(await store.users.getUser(bo.signPubHex)).toBeNull();
    }),
  );

  test(
    "completes a claim whose user could not be written at first",
    inWorld(async ({ store, users, invites, over }) => {
      const ana = await generateIdentity();
      const { token } = await invites.create(member);
      const failing = over({
        async claimInvite(id, claim) {
          const won = await store.invites.claimInvite(id, claim);
          if (won) throw Object.assign(new Error("the connection broke after the write"));
          return won;
        },
      });
      expect(failing.redeem(holder(token, ana))).rejects.toThrow("the connection broke");
      expect(await store.users.getUser(ana.signPubHex)).toBeNull();
      expect(await invites.redeem(holder(token, ana))).toMatchObject({ handle: "ana" });
      expect(await users.list(null, 1_000)).toHaveLength(1);
    }),
  );
});
