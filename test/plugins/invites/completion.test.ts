/**
 * The rule that an invite is completed only once its user exists, above both stores: a completed invite never creates
 * its user again, so a failure in between must not complete it. Source: docs/protocol/identity.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { generateIdentity } from "../../../src/client/crypto/identity.ts";
import { Notices } from "../../../src/contracts/notices.ts";
import type { InviteStore, UserStore } from "../../../src/contracts/store.ts";
import { InviteRules } from "../../../src/plugins/invites/rules.ts";
import { openSqliteStore } from "../../../src/plugins/store-sqlite/store.ts";
import { UserRules } from "../../../src/plugins/users/rules.ts";
import { UnibusError } from "../../../src/wire/errors.ts";
import { KvServer } from "../store-kv/server.ts";
import { withFile } from "../store-sqlite/folder.ts";
import { holder, outcome } from "./world.ts";

interface Stores {
  readonly users: UserStore;
  readonly invites: InviteStore;
}

const member = { handle: "ana", role: "member", ttlS: 3_600 } as const;

let server: KvServer;
beforeAll(async () => {
  server = await KvServer.start(4);
});
afterAll(() => server[Symbol.asyncDispose]());

const onKv = async (work: (stores: Stores) => Promise<void>) => work(await server.store(server.freshAccount()));
const onSqlite = (work: (stores: Stores) => Promise<void>) =>
  withFile(async (file) => {
    const store = openSqliteStore({ file, now: Date.now });
    try {
      await work(store);
    } finally {
      store.close();
    }
  });

function rulesOver({ users, invites }: Stores): InviteRules {
  const parts = { notices: new Notices(undefined), now: Date.now };
  return new InviteRules({
    store: invites,
    userStore: users,
    users: new UserRules({ store: users, rooms: undefined, ...parts }),
    now: Date.now,
  });
}

test("a store that does not commit both together completes an invite only after its user exists", async () => {
  await onKv(async ({ users, invites }) => {
    expect(invites.commitsTogether).toBe(false);
    const ana = await generateIdentity();
    const seen: boolean[] = [];
    const watched: InviteStore = {
      ...invites,
      async completeInvite(id, at) {
        seen.push((await users.getUser(ana.signPubHex)) !== null);
        return invites.completeInvite(id, at);
      },
    };
    const rules = rulesOver({ users, invites: watched });
    const { token, invite } = await rules.create(member);
    expect(await outcome(rules.redeem(holder(token, ana)))).toBe("done");
    expect(seen).toEqual([true]);
    expect((await invites.getInvite(invite.id))?.completedAt).not.toBeNull();
  });
});

test("an invite whose user could not be created is not completed, and its keys redeem it later", async () => {
  await onKv(async ({ users, invites }) => {
    const ana = await generateIdentity();
    let fails = true;
    const failing: UserStore = {
      ...users,
      async insertUser(user) {
        if (fails) throw new UnibusError("unavailable", "no answer (try again)");
        return users.insertUser(user);
      },
    };
    const rules = rulesOver({ users: failing, invites });
    const { token, invite } = await rules.create(member);
    expect(await outcome(rules.redeem(holder(token, ana)))).toBe("unavailable");
    expect(await invites.getInvite(invite.id)).toMatchObject({ usedSignPub: ana.signPubHex, completedAt: null });
    fails = false;
    expect(await outcome(rules.redeem(holder(token, ana)))).toBe("done");
    expect((await invites.getInvite(invite.id))?.completedAt).not.toBeNull();
  });
});

for (const [name, on] of Object.entries({ sqlite: onSqlite, kv: onKv })) {
  test(`a completed invite does not create its user again after they were deleted: ${name}`, async () => {
    await on(async (stores) => {
      const ana = await generateIdentity();
      const rules = rulesOver(stores);
      const { token } = await rules.create(member);
      expect(await outcome(rules.redeem(holder(token, ana)))).toBe("done");
      expect(await outcome(rules.redeem(holder(token, ana)))).toBe("done");
      expect(await stores.users.deleteUser(ana.signPubHex)).toBe(true);
      expect(await outcome(rules.redeem(holder(token, ana)))).toBe("conflict");
      expect(await stores.users.getUser(ana.signPubHex)).toBeNull();
    });
  });
}
