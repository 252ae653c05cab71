/** Every quota, raced: more requests at once than it allows are granted exactly as many. Source: spec 9. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateIdentity, type Identity } from "../../src/client/identity.ts";
import { UserStore } from "../../src/contracts/store.ts";
import type { UserRole } from "../../src/wire/api.ts";
import { bootInProcess, type InProcess } from "../support/in-process.ts";
import { at, call, createBody, createRoom, freshSubject, newRoom, policy } from "../support/peer.ts";

/** Quotas that are small enough to be reached by a few requests. */
const limits = { rooms: 5 } as const;
const settings = { rooms: { per_user: limits.rooms } };

/** What a request came to: granted, or the code with which it was refused. */
type Outcome = "granted" | string;

interface Race {
  /** Prepares for one user, and gives what is then done many times at once. */
  readonly prepare: (world: World, who: Identity) => Promise<() => Promise<Outcome>>;
  readonly atOnce: number;
  readonly granted: number;
}

class World {
  constructor(
    readonly running: InProcess,
    readonly admin: Identity,
  ) {}

  get base(): string {
    return this.running.server.ready.http;
  }

  async user(role: UserRole = "member"): Promise<Identity> {
    const who = await generateIdentity();
    await this.running.bus.service(UserStore)?.insertUser(recordOf(who, role));
    return who;
  }

  async call(who: Identity, method: string, target: string, body?: unknown): Promise<Outcome> {
    const { status, json } = await call(this.base, who, method, target, body);
    return status < 300 ? "granted" : String(json.code);
  }
}

const recordOf = ({ signPubHex, endpoint, kexPubHex, kexSig }: Identity, role: UserRole) => ({
  ...{ signPub: signPubHex, endpoint, kexPub: kexPubHex, kexSig, handle: "someone", role, status: "active" as const },
  ...{ createdAt: 1, revokedAt: null, revision: 0 },
});

const races: Readonly<Record<string, Race>> = {
  "rooms of one user": {
    atOnce: 60,
    granted: limits.rooms,
    prepare: async (world, who) => () =>
      world.call(who, "POST", "/rooms", createBody(newRoom(who, freshSubject(), policy("encrypt", "persist")))),
  },
  "rooms of one user that are not kept": {
    atOnce: 60,
    granted: limits.rooms,
    prepare: async (world, who) => () =>
      world.call(who, "POST", "/rooms", createBody(newRoom(who, freshSubject(), policy()))),
  },
  "devices of one member in one room": {
    atOnce: 20,
    // The main one counts, bound or not.
    granted: 7,
    async prepare(world, who) {
      const room = await createRoom(world.running.server, who, policy("persist"));
      let n = 0;
      return () => world.call(who, "PUT", `${at(room)}/durable?device=d${n++}`);
    },
  },
};

for (const [store, flags] of [
  ["SQLite", {}],
  ["KV", { decentralized: true }],
] as const) {
  describe(`on ${store}`, () => {
    let world: World;
    beforeAll(async () => {
      const running = await bootInProcess({ flags, settings });
      const admin = await generateIdentity();
      await running.bus.service(UserStore)?.insertUser(recordOf(admin, "admin"));
      world = new World(running, admin);
    }, 60_000);
    afterAll(() => world.running[Symbol.asyncDispose]());

    for (const [name, { prepare, atOnce, granted }] of Object.entries(races)) {
      test(`${name}: ${atOnce} at once are ${granted}`, async () => {
        const act = await prepare(world, await world.user());
        const outcomes = await Promise.all(Array.from({ length: atOnce }, () => act()));
        expect(outcomes.filter((one) => one === "granted")).toHaveLength(granted);
        expect(new Set(outcomes)).toEqual(new Set(["granted", "quota"]));
        expect(await act()).toBe("quota");
      }, 60_000);
    }
  });
}
