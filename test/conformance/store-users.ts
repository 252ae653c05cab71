/**
 * Conformance cases for users and the admin roster: inserts and replacements are compare-and-set, lists are paged, and
 * users are found by their handle's look. Used by `storeConformance`.
 */
import { describe, expect, test } from "bun:test";
import { looksOf, type UserRecord, type UserStore } from "../../src/contracts/index.ts";
import { lookCases } from "../support/handle-cases.ts";
import type { OpenStore } from "./store.ts";
import { callers, failure, keySample, peer, upTo, userSample, winners, withStore } from "./store-samples.ts";

const plain = (user: UserRecord | null): UserRecord | null => user && { ...user, revision: 0 };

const userOf = (endpoint: string): UserRecord | null =>
  upTo(9)
    .map((n) => userSample(n))
    .find((user) => user.endpoint === endpoint) ?? null;

async function known(users: UserStore, signPub: string): Promise<UserRecord> {
  const user = await users.getUser(signPub);
  if (!user) throw new Error(`no user ${signPub}`);
  return user;
}

/** Cases for users and the admin roster. */
export function userCases(open: OpenStore): void {
  describe("users", () => {
    test(
      "every field is stored and returned, by key and by endpoint",
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
      "a miss returns null, false or an empty list",
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
      "a known key conflicts, whatever its status, and its row is unchanged",
      withStore(open, async ({ users }) => {
        const revoked = userSample(1, { status: "revoked", revokedAt: 5 });
        await users.insertUser(revoked);
        const { code } = await failure(users.insertUser(userSample(1, { handle: "other", role: "admin" })));
        expect(code).toBe("conflict");
        expect(plain(await users.getUser(revoked.signPub))).toEqual(revoked);
      }),
    );

    test(
      "of many inserts of a key exactly one succeeds",
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
      "of many replacements exactly one wins, and an old revision never does",
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
      "a record that was deleted and inserted again differs from the earlier one",
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
      "active users are listed by endpoint, page by page, as of the latest change",
      withStore(open, async ({ users }) => {
        expect(await users.listActive({ after: null, limit: 10 })).toEqual([]);
        for (const n of upTo(7)) await users.insertUser(userSample(n));
        const sorted = upTo(7).map(peer).sort();
        const listed = async () => (await users.listActive({ after: null, limit: 100 })).map(plain);
        expect(await listed()).toEqual(sorted.map((endpoint) => userOf(endpoint)));
        const paged: string[] = [];
        for (let after: string | null = null; ; ) {
          const page: UserRecord[] = await users.listActive({ after, limit: 3 });
          paged.push(...page.map(({ endpoint }) => endpoint));
          after = page.at(-1)?.endpoint ?? null;
          if (after === null) break;
          expect(page.length).toBeLessThanOrEqual(3);
        }
        expect(paged).toEqual(sorted);
        const revoked = { ...(await known(users, keySample(2))), status: "revoked" as const, revokedAt: 5 };
        expect(await users.replaceUser(revoked)).toBe(true);
        expect(await users.deleteUser(keySample(4))).toBe(true);
        await users.insertUser(userSample(8));
        const left = [0, 1, 3, 5, 6, 8].map(peer).sort();
        expect((await listed()).map((user) => user?.endpoint)).toEqual(left);
        const again = await known(users, keySample(2));
        expect(await users.replaceUser({ ...again, status: "active", revokedAt: null })).toBe(true);
        expect((await listed()).map((user) => user?.endpoint)).toEqual([...left, peer(2)].sort());
      }),
    );

    test(
      "a handle finds every active user whose handle looks alike, and follows each change",
      withStore(open, async ({ users }) => {
        const found = async (handle: string, after: string | null = null, limit = 100) =>
          (await users.listActive({ looks: looksOf(handle), after, limit })).map(({ endpoint }) => endpoint);
        const handles = [
          "bob",
          "BOB",
          "b0b",
          "bo\u0431",
          "b\u043eb",
          "\uff42\uff4f\uff42",
          "Ian",
          "lan",
          "Bobby",
          "Ren\u00e9",
        ];
        for (const [n, handle] of handles.entries()) await users.insertUser(userSample(n, { handle }));
        const bobs = [0, 1, 2, 4, 5].map(peer).sort();
        expect(await found("bob")).toEqual(bobs);
        expect(await found("BoB")).toEqual(bobs);
        expect(await found("bob", bobs[1], 2)).toEqual(bobs.slice(2, 4));
        // The first query matches by the first look only, the second also by the second look.
        expect(await found("ian")).toEqual([peer(6)]);
        expect(await found("Ian")).toEqual([peer(6), peer(7)].sort());
        expect(await found("Rene\u0301")).toEqual([peer(9)]);
        expect(await found("carol")).toEqual([]);
        const user = await known(users, keySample(2));
        expect(await users.replaceUser({ ...user, handle: "Carol" })).toBe(true);
        expect(await found("bob")).toEqual(bobs.filter((endpoint) => endpoint !== peer(2)));
        expect(await found("caroI")).toEqual([peer(2)]);
        const revoked = { ...(await known(users, keySample(1))), status: "revoked" as const, revokedAt: 5 };
        expect(await users.replaceUser(revoked)).toBe(true);
        expect(await users.deleteUser(keySample(0))).toBe(true);
        expect(await found("bob")).toEqual([4, 5].map(peer).sort());
      }),
    );

    test.each(lookCases.map((one) => [one.name, one] as const))(
      "%s: either handle finds both users",
      (_, { one, other }) =>
        withStore(open, async ({ users }) => {
          await users.insertUser(userSample(1, { handle: one }));
          await users.insertUser(userSample(2, { handle: other }));
          for (const handle of [one, other]) {
            const found = await users.listActive({ looks: looksOf(handle), after: null, limit: 10 });
            expect(found.map(({ signPub }) => signPub).sort()).toEqual([1, 2].map(keySample).sort());
          }
        })(),
    );

    test(
      "of many rosters exactly one wins, and an old revision never does",
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
