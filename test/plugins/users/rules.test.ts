/**
 * Rules for users: adding, revoking and deleting under races. Invariant: the last active admin cannot be removed over
 * HTTP, and a crash at any store call leaves the roster correct or completable.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateIdentity, type Identity } from "../../../src/client/crypto/identity.ts";
import { type AdminRoster, RoomStore, UserStore } from "../../../src/contracts/store.ts";
import { Users } from "../../../src/contracts/users.ts";
import { hasCode, isUnibusError, UnibusError } from "../../../src/wire/errors.ts";
import { FaultPlan } from "../../support/faulty.ts";
import { bootInProcess, type InProcess, insertUser, serviceOf } from "../../support/in-process.ts";
import { addMembers, call, createRoom, policy } from "../../support/peer.ts";

const racers = 32;
const rounds = 5;
const unavailable = () => new UnibusError("unavailable", "the store is unavailable");
const plan = new FaultPlan(unavailable);
const roomPlan = new FaultPlan(unavailable);
let running: InProcess;
let users: Users;
let store: UserStore;

function must<T>(service: T | undefined): T {
  if (service === undefined) throw new Error("the bus lacks a service");
  return service;
}

/** Runs once, before the next write of the roster. */
let beforeRoster: (() => Promise<unknown>) | null = null;
const hooked = (port: object) =>
  new Proxy(port as UserStore, {
    get: (target, name) => {
      if (name !== "replaceRoster") return Reflect.get(target, name, target);
      return async (next: AdminRoster) => {
        const hook = beforeRoster;
        beforeRoster = null;
        await hook?.();
        return target.replaceRoster(next);
      };
    },
  });

beforeAll(async () => {
  running = await bootInProcess({
    between: { [UserStore.id]: (port) => plan.wrap(hooked(port)), [RoomStore.id]: (port) => roomPlan.wrap(port) },
  });
  users = must(running.bus.service(Users));
  store = must(running.bus.service(UserStore));
});
afterAll(() => running[Symbol.asyncDispose]());

async function made(role: "admin" | "member"): Promise<Identity> {
  const identity = await generateIdentity();
  await users.add({ signPub: identity.signPubHex, handle: role, role });
  return identity;
}
const admins = async (): Promise<string[]> =>
  (await users.list(null, 1_000))
    .filter(({ role, status }) => role === "admin" && status === "active")
    .map(({ signPub }) => signPub);
const roster = async (): Promise<readonly string[]> => (await store.getRoster()).admins;
/** Revokes the admins of earlier rounds. */
async function withoutAdmins(): Promise<void> {
  for (const signPub of await admins()) await users.revoke(signPub, { keepAdmin: false });
}
const codeOf = (error: unknown) => (isUnibusError(error) ? error.code : String(error));

describe("the last admin", () => {
  for (const way of ["revoke", "remove"] as const) {
    test(`${racers} concurrent requests that ${way} two admins leave exactly one`, async () => {
      for (let round = 0; round < rounds; round++) {
        await withoutAdmins();
        const [one, other] = [await made("admin"), await made("admin")];
        const done = await Promise.allSettled(
          Array.from({ length: racers }, (_, i) => users[way]((i % 2 ? one : other).signPubHex, { keepAdmin: true })),
        );
        const left = await admins();
        expect(left).toHaveLength(1);
        expect(await roster()).toEqual(left);
        const refused = done.flatMap((result) => (result.status === "rejected" ? [codeOf(result.reason)] : []));
        // Late callers may find that there is nothing left to do, or that the user is gone.
        expect(refused.filter((code) => code !== "conflict" && code !== "not_found")).toEqual([]);
        expect(refused.filter((code) => code === "conflict").length).toBeGreaterThanOrEqual(1);
      }
    });
  }

  test("of many, removed and revoked in any order, stays", async () => {
    await withoutAdmins();
    const many = await Promise.all(Array.from({ length: 8 }, () => made("admin")));
    expect([...(await roster())].sort()).toEqual(many.map(({ signPubHex }) => signPubHex).sort());
    await Promise.allSettled(
      many.flatMap(({ signPubHex }) => [
        users.revoke(signPubHex, { keepAdmin: true }),
        users.remove(signPubHex, { keepAdmin: true }),
      ]),
    );
    expect(await admins()).toHaveLength(1);
    expect(await roster()).toEqual(await admins());
  });

  test("can be removed by a command on the host, and the next admin is the only one", async () => {
    await withoutAdmins();
    expect(await roster()).toEqual([]);
    const next = await made("admin");
    expect(await roster()).toEqual([next.signPubHex]);
    expect(await users.revoke(next.signPubHex, { keepAdmin: true }).then(() => "gone", codeOf)).toBe("conflict");
  });

  test("who was revoked does not become an admin by a second revocation, and others are unchanged", async () => {
    await withoutAdmins();
    const [one, other] = [await made("admin"), await made("admin")];
    const member = await made("member");
    await users.revoke(one.signPubHex.toUpperCase(), { keepAdmin: true });
    await users.revoke(one.signPubHex, { keepAdmin: true });
    await users.revoke(member.signPubHex, { keepAdmin: true });
    expect(await admins()).toEqual([other.signPubHex]);
    expect((await store.getUser(one.signPubHex))?.revokedAt).toBeGreaterThan(0);
  });
});

describe("if any call of the store fails while an admin is revoked", () => {
  for (const moment of ["before", "after"] as const) {
    test(`(${moment} it is made) the roster lists only real admins, and a repeated request completes`, async () => {
      for (let nth = 1; ; nth++) {
        plan.rest();
        await withoutAdmins();
        const [one, other] = [await made("admin"), await made("admin")];
        plan.arm(nth, moment);
        const outcome = await users.revoke(one.signPubHex, { keepAdmin: true }).then(() => "done", codeOf);
        plan.rest();
        const real = await admins();
        expect(await roster()).toEqual(expect.arrayContaining([other.signPubHex]));
        for (const admin of await roster()) expect(real).toContain(admin);
        await users.revoke(one.signPubHex, { keepAdmin: true });
        expect(await admins()).toEqual([other.signPubHex]);
        expect(await roster()).toEqual([other.signPubHex]);
        if (plan.failed === null) {
          expect(outcome).toBe("done");
          expect(nth).toBeGreaterThan(3);
          break;
        }
        expect(outcome).toBe("unavailable");
      }
    });
  }
});

describe("a user", () => {
  test("is added once in a race, and the first row stays", async () => {
    const { signPubHex } = await generateIdentity();
    const done = await Promise.allSettled(
      Array.from({ length: racers }, (_, i) => {
        const signPub = i % 2 ? signPubHex : signPubHex.toUpperCase();
        return users.add({ signPub, handle: `racer ${i}`, role: "member" });
      }),
    );
    const won = done.flatMap((result) => (result.status === "fulfilled" ? [result.value.handle] : []));
    expect(won).toHaveLength(1);
    for (const result of done) if (result.status === "rejected") expect(codeOf(result.reason)).toBe("conflict");
    expect((await store.getUser(signPubHex))?.handle).toBe(won[0] ?? "");
  });

  test("who was revoked is not added again: the row is unchanged", async () => {
    const one = await made("member");
    await users.revoke(one.signPubHex, { keepAdmin: true });
    const before = await store.getUser(one.signPubHex);
    const again = users.add({ signPub: one.signPubHex, handle: "again", role: "admin" });
    expect(await again.then(() => "added", codeOf)).toBe("conflict");
    expect(await store.getUser(one.signPubHex)).toEqual(before);
    expect(await roster()).not.toContain(one.signPubHex);
  });

  test("who does not exist is not found, revoked, restored or removed", async () => {
    const { signPubHex } = await generateIdentity();
    expect(await users.restore(signPubHex).then(() => "restored", codeOf)).toBe("not_found");
    for (const way of ["revoke", "remove"] as const) {
      const outcome = await users[way](signPubHex, { keepAdmin: true }).catch((error: unknown) => error);
      expect(hasCode(outcome, "not_found")).toBe(true);
    }
  });

  test("has both kex fields or neither", async () => {
    const { signPubHex, kexPubHex, kexSig } = await generateIdentity();
    for (const half of [{ kexPub: kexPubHex }, { kexSig }]) {
      const added = users.add({ signPub: signPubHex, handle: "half", role: "member", ...half });
      expect(await added.then(() => "added", codeOf)).toBe("invalid");
    }
    expect(await store.getUser(signPubHex)).toBeNull();
  });
});

describe("a revoked user who is restored", () => {
  test("is active as before, with the same role, and a second restoration changes nothing", async () => {
    await withoutAdmins();
    const [one, other] = [await made("admin"), await made("admin")];
    await users.revoke(one.signPubHex, { keepAdmin: true });
    const before = await store.getUser(one.signPubHex);
    for (const signPub of [one.signPubHex.toUpperCase(), one.signPubHex]) await users.restore(signPub);
    const { revision: _, ...restored } = (await store.getUser(one.signPubHex)) ?? { revision: 0 };
    const { revision: __, ...expected } = { ...before, revision: 0, status: "active", revokedAt: null };
    expect(restored).toEqual(expected as never);
    expect([...(await roster())].sort()).toEqual([one.signPubHex, other.signPubHex].sort());
  });

  test("is in no room: the memberships that ended stay ended, even if the revocation was interrupted", async () => {
    const { server } = running;
    const admin = await made("admin");
    const [owner, member] = [await insertUser(running, "owner"), await insertUser(running, "member")];
    const rooms = serviceOf(running, RoomStore);
    const inRooms = async () => (await rooms.listRoomsOf(member.endpoint)).length;
    for (let nth = 1, isOver = false; !isOver; nth++) {
      await addMembers(server, await createRoom(server, owner, policy("encrypt")), member);
      expect(await inRooms()).toBe(1);
      roomPlan.arm(nth, "before");
      await users.revoke(member.signPubHex, { keepAdmin: true }).catch(() => undefined);
      roomPlan.rest();
      isOver = roomPlan.failed === null;
      await users.restore(member.signPubHex);
      expect(await inRooms()).toBe(0);
      const { status } = await call(server.ready.http, member, "GET", `/members/${member.endpoint}/rooms`);
      expect(status).toBe(200);
    }
    await users.revoke(admin.signPubHex, { keepAdmin: false });
  });

  test("and revoked again before the roster is written, is not in it afterwards", async () => {
    await withoutAdmins();
    const [one, other] = [await made("admin"), await made("admin")];
    await users.revoke(one.signPubHex, { keepAdmin: true });
    beforeRoster = () => users.revoke(one.signPubHex, { keepAdmin: true });
    await users.restore(one.signPubHex);
    expect((await store.getUser(one.signPubHex))?.status).toBe("revoked");
    expect(await roster()).toEqual([other.signPubHex]);
  });

  test(`and revoked by ${racers} concurrent requests is either, and the roster agrees`, async () => {
    for (let round = 0; round < rounds; round++) {
      await withoutAdmins();
      const [one, other] = [await made("admin"), await made("admin")];
      await Promise.all(
        Array.from({ length: racers }, (_, i) =>
          i % 2 ? users.restore(one.signPubHex) : users.revoke(one.signPubHex, { keepAdmin: true }),
        ),
      );
      expect([...(await roster())].sort()).toEqual((await admins()).sort());
      expect(await roster()).toContain(other.signPubHex);
    }
  });

  for (const moment of ["before", "after"] as const) {
    test(`(any call of the store fails ${moment} it is made): a repeated request completes`, async () => {
      for (let nth = 1; ; nth++) {
        plan.rest();
        await withoutAdmins();
        const one = await made("admin");
        await users.revoke(one.signPubHex, { keepAdmin: false });
        plan.arm(nth, moment);
        await users.restore(one.signPubHex).catch(() => undefined);
        plan.rest();
        for (const admin of await roster()) expect(await admins()).toContain(admin);
        await users.restore(one.signPubHex);
        expect(await roster()).toEqual([one.signPubHex]);
        if (plan.failed === null) break;
      }
    });
  }
});
