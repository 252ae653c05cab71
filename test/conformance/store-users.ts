import { describe, expect, test } from "bun:test";
import type { UserRecord, UserStore } from "../../src/contracts/index.ts";
import type { OpenStore } from "./store.ts";
import { callers, failure, keySample, upTo, userSample, winners, withStore } from "./store-samples.ts";

const plain = (user: UserRecord | null): UserRecord | null => user && { ...user, revision: 0 };

async function known(users: UserStore, signPub: string): Promise<UserRecord> {
  const user = await users.getUser(signPub);
  if (!user) throw new Error(`no user ${signPub}`);
  return user;
}

/** Users and the roster of admins. */
export function userCases(open: OpenStore): void {
  describe("users", () => {
    test(
      "every field comes back, by key and by endpoint",
      withStore(open, async ({ users }) => {
        const samples = [
          userSample(1),
          userSample(2, { kexPub: null, kexSig: null, role: "admin" }),
          userSample(3, { status: "revoked", revokedAt: 1_760_000_000_999 }),
        ];
        for (const user of samples) await users.insertUser(user);
        for (const user of samples) {
          expect(plain(await users.getUser(user.signPub))).toEqual(user);
          expect(plain(await users.getUserByEndpoint(user.endpoint))).toEqual(user);
        }
      }),
    );

    test(
      "a miss is null, false or empty",
      withStore(open, async ({ users }) => {
        expect(await users.getUser(keySample(1))).toBeNull();
        expect(await users.getUserByEndpoint(userSample(1).endpoint)).toBeNull();
        expect(await users.replaceUser(userSample(1))).toBe(false);
        expect(await users.deleteUser(keySample(1))).toBe(false);
        expect(await users.listUsers(null, 10)).toEqual([]);
        expect(await users.getRoster()).toEqual({ admins: [], revision: 0 });
      }),
    );

    test(
      "a known key conflicts, whatever its status, and its row is untouched",
      withStore(open, async ({ users }) => {
        const revoked = userSample(1, { status: "revoked", revokedAt: 5 });
        await users.insertUser(revoked);
        const { code } = await failure(users.insertUser(userSample(1, { handle: "other", role: "admin" })));
        expect(code).toBe("conflict");
        expect(plain(await users.getUser(revoked.signPub))).toEqual(revoked);
      }),
    );

    test(
      "one of many inserts of a key goes through",
      withStore(open, async ({ users }) => {
        const won = await winners(upTo(callers).map((n) => users.insertUser(userSample(1, { handle: `caller ${n}` }))));
        expect(won).toHaveLength(1);
        expect((await users.getUser(keySample(1)))?.handle).toBe(`caller ${won[0]}`);
      }),
    );

    test(
      "a replacement stores every field, and the revision grows",
      withStore(open, async ({ users }) => {
        await users.insertUser(userSample(1, { kexPub: null, kexSig: null }));
        const before = await known(users, keySample(1));
        const next = { ...userSample(1, { status: "revoked", revokedAt: 9, role: "admin", handle: "new" }) };
        expect(await users.replaceUser({ ...next, revision: before.revision })).toBe(true);
        const after = await known(users, keySample(1));
        expect(plain(after)).toEqual(next);
        expect(after.revision).toBeGreaterThan(before.revision);
      }),
    );

    test(
      "one of many replacements wins, and an old revision never does",
      withStore(open, async ({ users }) => {
        await users.insertUser(userSample(1));
        const user = await known(users, keySample(1));
        const won = await winners(upTo(callers).map((n) => users.replaceUser({ ...user, handle: `caller ${n}` })));
        expect(won).toHaveLength(1);
        expect((await users.getUser(keySample(1)))?.handle).toBe(`caller ${won[0]}`);
        expect(await users.replaceUser({ ...user, handle: "late" })).toBe(false);
      }),
    );

    test(
      "a record deleted and inserted again is not the one before",
      withStore(open, async ({ users }) => {
        await users.insertUser(userSample(1));
        const before = await known(users, keySample(1));
        expect(await users.deleteUser(keySample(1))).toBe(true);
        expect(await users.deleteUser(keySample(1))).toBe(false);
        expect(await users.getUser(keySample(1))).toBeNull();
        expect(await users.getUserByEndpoint(before.endpoint)).toBeNull();
        await users.insertUser(userSample(1));
        expect(await users.replaceUser(before)).toBe(false);
      }),
    );

    test(
      "a list is by key, page by page",
      withStore(open, async ({ users }) => {
        for (const n of upTo(7)) await users.insertUser(userSample(n));
        const sorted = upTo(7).map(keySample).sort();
        expect((await users.listUsers(null, 100)).map((user) => user.signPub)).toEqual(sorted);
        const paged: string[] = [];
        for (let after: string | null = null; ; ) {
          const page: UserRecord[] = await users.listUsers(after, 3);
          paged.push(...page.map((user) => user.signPub));
          after = page.at(-1)?.signPub ?? null;
          if (after === null) break;
          expect(page.length).toBeLessThanOrEqual(3);
        }
        expect(paged).toEqual(sorted);
        expect((await users.listUsers("0".repeat(64), 1)).map((user) => user.signPub)).toEqual(sorted.slice(0, 1));
      }),
    );

    test(
      "one of many rosters wins, and an old revision never does",
      withStore(open, async ({ users }) => {
        const before = await users.getRoster();
        const won = await winners(
          upTo(callers).map((n) => users.replaceRoster({ ...before, admins: [keySample(n), keySample(n + 1)] })),
        );
        expect(won).toHaveLength(1);
        const after = await users.getRoster();
        expect(after.admins).toEqual([keySample(won[0] ?? -1), keySample((won[0] ?? -1) + 1)]);
        expect(after.revision).toBeGreaterThan(before.revision);
        expect(await users.replaceRoster(before)).toBe(false);
        expect(await users.replaceRoster({ ...after, admins: [] })).toBe(true);
        expect((await users.getRoster()).admins).toEqual([]);
      }),
    );
  });
}
