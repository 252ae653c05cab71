/**
 * Fault injection into the KV store: for each change that needs several writes, the Nth request to NATS fails, before
 * or after it takes effect, for every N. A reader must then see all of the change or nothing, and a retry must complete
 * it. Each attempt uses its own keys, and each case its own NATS account.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { hasCode } from "../../src/contracts/index.ts";
import { leaving, withDevice } from "../../src/contracts/stay-rules.ts";
import type { KvStore } from "../../src/plugins/store-kv/store.ts";
import {
  changeOf,
  epochMs,
  inviteSample,
  keySample,
  peer,
  restorationOf,
  restorationOver,
  reviseStay,
  roomIdSample,
  roomSample,
  sealedSample,
  staySample,
  userSample,
} from "../conformance/store-samples.ts";
import { KvServer } from "../plugins/store-kv/server.ts";
import { type FaultMoment, FaultPlan } from "../support/faulty.ts";

/** More requests than any change makes: exceeding it means an endless loop. */
const requestsMax = 80;
/** The number of cases, each with its own account. */
const accounts = 32;

let server: KvServer;
beforeAll(async () => {
  server = await KvServer.start(accounts);
});
afterAll(() => server[Symbol.asyncDispose]());

/** A change during which one request fails, on keys of its own for each attempt. */
interface Scenario {
  readonly prepare: (store: KvStore, n: number) => Promise<unknown>;
  readonly act: (store: KvStore, n: number) => Promise<unknown>;
  /** Returns the visible state, also through other ports: it must equal the state before or after the change. */
  readonly seen: (store: KvStore, n: number) => Promise<unknown>;
}

/** Error codes that mean that an earlier attempt already took effect. */
const isDoneBefore = (error: unknown): boolean => hasCode(error, "conflict") || hasCode(error, "gone");

/** Returns everything of a room that its members can see. */
async function roomSeen({ rooms }: KvStore, n: number, ...members: readonly number[]) {
  const roomId = roomIdSample(n);
  const of = async (m: number) => ({
    stay: await rooms.getStay(roomId, peer(m)),
    key: await rooms.getSealedKey(roomId, peer(m), null),
    first: await rooms.getSealedKey(roomId, peer(m), 1),
    isListed: (await rooms.listRoomsOf(peer(m))).some(({ room }) => room.roomId === roomId),
  });
  return {
    room: await rooms.getRoom(roomId),
    stays: await rooms.listStays(roomId),
    statements: await rooms.listStatements(roomId, 1, 10),
    members: await Promise.all(members.map(of)),
  };
}

/** Creates a room of peer 1 with peer 2 as a member. */
async function twoIn({ rooms }: KvStore, n: number): Promise<void> {
  await rooms.insertRoom(roomSample(n));
  const parts = { stays: [staySample(2)], keys: [sealedSample(2, 1)] };
  expect(await rooms.applyChange(changeOf(roomSample(n).room, parts))).toBe(true);
}

const second = (n: number) => changeOf(roomSample(n).room, {}).room;

const scenarios: Readonly<Record<string, Scenario>> = {
  insertRoom: {
    prepare: async () => undefined,
    act: ({ rooms }, n) => rooms.insertRoom(roomSample(n)),
    seen: (store, n) => roomSeen(store, n, 1),
  },
  "applyChange that adds": {
    prepare: ({ rooms }, n) => rooms.insertRoom(roomSample(n)),
    act: ({ rooms }, n) =>
      rooms.applyChange(changeOf(roomSample(n).room, { stays: [staySample(2)], keys: [sealedSample(2, 1)] })),
    seen: (store, n) => roomSeen(store, n, 1, 2),
  },
  "applyChange that rekeys": {
    prepare: twoIn,
    act: ({ rooms }, n) => {
      const stays = [staySample(2, { until: 2 })];
      return rooms.applyChange(changeOf(second(n), { rekey: true, stays, keys: [sealedSample(1, 2)] }));
    },
    seen: (store, n) => roomSeen(store, n, 1, 2),
  },
  "replaceStay that leaves": {
    prepare: twoIn,
    act: ({ rooms }, n) => reviseStay(rooms, roomIdSample(n), peer(2), leaving(epochMs)),
    seen: (store, n) => roomSeen(store, n, 1, 2),
  },
  "replaceStay that adds a device": {
    prepare: twoIn,
    act: ({ rooms }, n) => reviseStay(rooms, roomIdSample(n), peer(2), withDevice("phone")),
    seen: (store, n) => roomSeen(store, n, 1, 2),
  },
  markDeleted: {
    prepare: twoIn,
    act: ({ rooms }, n) => rooms.markDeleted(roomIdSample(n), 5),
    seen: async (store, n) => {
      const { room, members } = await roomSeen(store, n, 1, 2);
      return { room, listed: members.map(({ isListed }) => isListed) };
    },
  },
  "restoreRoom of an existing room": {
    prepare: twoIn,
    act: ({ wayBack }, n) => {
      const stays = [staySample(1, { role: "owner" }), staySample(3, { since: 2 })];
      const keys = [sealedSample(1, 2), sealedSample(1, 3), sealedSample(3, 2), sealedSample(3, 3)];
      const base = { version: 1, epoch: 1 };
      return wayBack.restoreRoom(restorationOver(second(n), 6, { base, epoch: 3, salt: "other", stays, keys }));
    },
    seen: (store, n) => roomSeen(store, n, 1, 2, 3),
  },
  "restoreRoom of an unknown room": {
    prepare: async () => undefined,
    act: ({ wayBack }, n) => {
      const keys = [sealedSample(1, 1), sealedSample(1, 2)];
      return wayBack.restoreRoom(restorationOf(roomSample(n), 6, { epoch: 2, keys }));
    },
    seen: (store, n) => roomSeen(store, n, 1),
  },
  insertUser: {
    prepare: async () => undefined,
    act: ({ users }, n) => users.insertUser(userSample(n)),
    seen: async ({ users }, n) => {
      const user = await users.getUser(keySample(n));
      const listed = (await users.listUsers(null, 1_000)).some(({ signPub }) => signPub === keySample(n));
      return { user: user && { ...user, revision: 0 }, listed };
    },
  },
  insertInvite: {
    prepare: async () => undefined,
    act: ({ invites }, n) => invites.insertInvite(inviteSample(n)),
    seen: async ({ invites }, n) => {
      const { id } = inviteSample(n);
      const listed = (await invites.listPendingInvites(1_000)).some((invite) => invite.id === id);
      return { invite: await invites.getInvite(id), listed };
    },
  },
  claimInvite: {
    prepare: ({ invites }, n) => invites.insertInvite(inviteSample(n)),
    act: ({ invites }, n) => invites.claimInvite(inviteSample(n).id, { signPub: "a", kexPub: "b", at: 9 }),
    seen: async ({ invites }, n) => {
      const { id } = inviteSample(n);
      const listed = (await invites.listPendingInvites(1_000)).some((invite) => invite.id === id);
      return { invite: await invites.getInvite(id), listed };
    },
  },
};

/** Runs a scenario with the first request failing, then the second, until none fails. Returns how many failed. */
async function play({ prepare, act, seen }: Scenario, moment: FaultMoment): Promise<number> {
  const plan = new FaultPlan(() => new Error("no answer"));
  const account = server.freshAccount();
  const reader = await server.store(account);
  const store = await server.store(account, { wrap: (connection) => plan.wrap(connection, ["request"]) });
  for (let nth = 1; nth <= requestsMax; nth++) {
    await prepare(reader, nth);
    const before = await seen(reader, nth);
    plan.arm(nth, moment);
    const outcome = await act(store, nth).then(
      () => "done",
      (error: unknown) => (hasCode(error, "unavailable") ? "unavailable" : String(error)),
    );
    plan.rest();
    const between = await seen(reader, nth);
    if (plan.failed === null) {
      expect([nth, outcome]).toEqual([nth, "done"]);
      return nth - 1;
    }
    // A request that fails after the commit is cleanup, or only its answer is lost.
    expect([nth, ["done", "unavailable"].includes(outcome)]).toEqual([nth, true]);
    await act(reader, nth).catch((error: unknown) => {
      if (!isDoneBefore(error)) throw error;
    });
    const after = await seen(reader, nth);
    expect(after).not.toEqual(before);
    expect([nth, Bun.deepEquals(between, before) || Bun.deepEquals(between, after)]).toEqual([nth, true]);
    if (outcome === "done") expect(between).toEqual(after);
  }
  throw new Error(`more than ${requestsMax} requests`);
}

for (const moment of ["before", "after"] as const) {
  describe(`if any request fails ${moment} it is made, a reader sees all or nothing, and a retry completes:`, () => {
    for (const [name, scenario] of Object.entries(scenarios)) {
      test(name, async () => {
        expect(await play(scenario, moment)).toBeGreaterThan(1);
      }, 30_000);
    }

    test("purgeRoom", async () => {
      const plan = new FaultPlan(() => new Error("no answer"));
      const account = server.freshAccount();
      const reader = await server.store(account);
      const store = await server.store(account, { wrap: (connection) => plan.wrap(connection, ["request"]) });
      for (let nth = 1; nth <= requestsMax; nth++) {
        const heir = roomSample(1_000 + nth, { subject: roomSample(nth).room.subject });
        await twoIn(reader, nth);
        await reader.rooms.markDeleted(roomIdSample(nth), 5);
        plan.arm(nth, moment);
        await store.rooms.purgeRoom(roomIdSample(nth)).catch((error: unknown) => {
          if (!hasCode(error, "unavailable")) throw error;
        });
        plan.rest();
        // Either way the room stays deleted, reads still work, and the subject is free once a purge succeeds.
        expect((await roomSeen(reader, nth, 1, 2)).room?.deletedAt).toBe(5);
        await reader.rooms.purgeRoom(roomIdSample(nth));
        expect(await roomSeen(reader, nth, 1, 2)).toMatchObject({ stays: [], statements: [] });
        await reader.rooms.insertRoom(heir);
        if (plan.failed === null) return;
      }
      throw new Error(`more than ${requestsMax} requests`);
    }, 30_000);
  });
}
