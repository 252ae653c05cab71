/**
 * Races for every quota that requests can use up: of more concurrent requests than the quota allows, exactly the
 * allowed number is granted, on each store. Other files race NATS connections (test/attacks/login-quotas), nonces
 * (test/plugins/auth) and bodies (test/kernel). Source: docs/protocol/limits.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { blobBytesMin } from "../../src/contracts/blobs.ts";
import { InviteStore, UserStore } from "../../src/contracts/store.ts";
import { devicesMax, membersMax, type UserRole } from "../../src/wire/api.ts";
import { endpointId } from "../../src/wire/names.ts";
import type { Policy } from "../../src/wire/statement.ts";
import { inviteSample } from "../conformance/store-samples.ts";
import { bootInProcess, type InProcess } from "../support/in-process.ts";
import {
  addBody,
  at,
  call,
  createBody,
  createRoom,
  freshSubject,
  newRoom,
  policy,
  send,
  signedHeaders,
} from "../support/peer.ts";

/** Quotas small enough that a few requests exhaust them. */
const roomsMax = 5;
const pendingMax = 1_000;
const rowsMax = 65_536;
const blobsMax = 100_000;
/** Row charge of a room without members: tombstone, stay, statement. */
const roomCost = 1_280 + 400;

/** Outcome of a request: granted, or the code of the refusal. */
type Outcome = "granted" | string;

interface Race {
  /** Prepares one user, and returns the request that is then made many times at once. */
  readonly prepare: (world: World, caller: Identity) => Promise<() => Promise<Outcome>>;
  readonly atOnce: number;
  /** How many are granted; a minimum and a maximum if the costs of the requests vary. */
  readonly granted: number | readonly [number, number];
}

class World {
  #blobs = 0;

  constructor(
    readonly running: InProcess,
    readonly admin: Identity,
  ) {}

  static async start(flags: Readonly<Record<string, boolean>>, settings: object): Promise<World> {
    const running = await bootInProcess({ flags, settings: { ...settings } });
    const world = new World(running, await generateIdentity());
    await world.add(world.admin, "admin");
    return world;
  }

  async add(caller: Identity, role: UserRole = "member"): Promise<Identity> {
    const { signPubHex, endpoint, kexPubHex, kexSig } = caller;
    await this.running.bus.service(UserStore)?.insertUser({
      ...{ signPub: signPubHex, endpoint, kexPub: kexPubHex, kexSig, handle: "someone", role, status: "active" },
      ...{ createdAt: 1, revokedAt: null, revision: 0 },
    });
    return caller;
  }

  async user(): Promise<Identity> {
    return this.add(await generateIdentity());
  }

  /** POST /blobs with bytes that were never sent before. */
  async postBlob(caller: Identity, size: number): Promise<Outcome> {
    const body = new Uint8Array(size);
    new DataView(body.buffer).setUint16(0, ++this.#blobs);
    const url = this.running.bus.site.url();
    const headers = signedHeaders(caller, { url, method: "POST", target: "/blobs", body });
    const reply = await send(`${url}/blobs`, { method: "POST", headers, body });
    return reply.status === 201 ? "granted" : String(reply.json.code ?? reply.status);
  }

  async call(caller: Identity, method: string, target: string, body?: unknown): Promise<Outcome> {
    const { status, json } = await call(this.running.bus.site.url(), caller, method, target, body);
    return status < 300 ? "granted" : String(json.code);
  }
}

/** A user without a real key pair; thousands of real ones would take seconds. */
function keyless(): Identity {
  const signPubHex = randomBytes(32).toString("hex");
  const kexPubHex = randomBytes(32).toString("hex");
  const kexSig = randomBytes(64).toString("base64");
  return { signPubHex, endpoint: endpointId(signPubHex), kexPubHex, kexSig } as Identity;
}

const creating =
  (rules: Policy): Race["prepare"] =>
  async (world, caller) =>
  () =>
    world.call(caller, "POST", "/rooms", createBody(newRoom(caller, freshSubject(), rules)));

const races: Readonly<Record<string, Race>> = {
  "persistent rooms of one user": { atOnce: 60, granted: roomsMax, prepare: creating(policy("encrypt", "persist")) },
  "ephemeral rooms of one user": { atOnce: 60, granted: roomsMax, prepare: creating(policy()) },
  "devices of one member in one room": {
    atOnce: 20,
    // The main device counts, whether bound or not.
    granted: devicesMax - 1,
    async prepare(world, caller) {
      const room = await createRoom(world.running.server, caller, policy("persist"));
      let n = 0;
      return () => world.call(caller, "PUT", `${at(room)}/durable?device=d${n++}`);
    },
  },
  "pending invites": {
    atOnce: 20,
    granted: 5,
    async prepare(world) {
      const store = world.running.bus.service(InviteStore);
      const count = Array.from({ length: pendingMax - 5 }, (_, n) => n);
      const waiting = (await store?.listPendingInvites(pendingMax)) ?? [];
      for (const { id } of waiting) await store?.deleteInvite(id);
      const expiresAt = Date.now() + 3_600_000;
      await Promise.all(count.map((n) => store?.insertInvite(inviteSample(n, { expiresAt }))));
      return () => world.call(world.admin, "POST", "/invites", { handle: "someone" });
    },
  },
};

const blobRaces: Readonly<Record<string, Race>> = {
  "blobs of one user": {
    atOnce: 12,
    granted: 5,
    prepare: async (world, caller) => () => world.postBlob(caller, 20_000),
  },
  "blobs of two bytes": {
    atOnce: 60,
    granted: Math.floor(blobsMax / blobBytesMin),
    prepare: async (world, caller) => () => world.postBlob(caller, 2),
  },
};

const rowRaces: Readonly<Record<string, Race>> = {
  "rows of one signer": {
    atOnce: 100,
    granted: [Math.floor(rowsMax / (roomCost + 50)), Math.ceil(rowsMax / (roomCost - 50))],
    prepare: creating(policy()),
  },
};

const stores = [
  ["SQLite", {}],
  ["KV", { decentralized: true }],
] as const;

for (const [store, flags] of stores) {
  for (const [settings, table] of [
    [{ rooms: { per_user: roomsMax } }, races],
    [{ rooms: { rows_per_owner: rowsMax } }, rowRaces],
    [{ blobs: { bytes_per_user: blobsMax } }, blobRaces],
  ] as const) {
    describe(`on ${store}, with ${JSON.stringify(settings)}`, () => {
      let world: World;
      beforeAll(async () => {
        world = await World.start(flags, settings);
      }, 60_000);
      afterAll(() => world.running[Symbol.asyncDispose]());

      for (const [name, { prepare, atOnce, granted }] of Object.entries(table)) {
        test(`${name}: of ${atOnce} concurrent requests ${granted} are granted`, async () => {
          const act = await prepare(world, await world.user());
          const outcomes = await Promise.all(Array.from({ length: atOnce }, () => act()));
          const [least, most] = typeof granted === "number" ? [granted, granted] : granted;
          const count = outcomes.filter((one) => one === "granted").length;
          expect(count).toBeGreaterThanOrEqual(least);
          expect(count).toBeLessThanOrEqual(most);
          expect(new Set(outcomes)).toEqual(new Set(["granted", "quota"]));
          expect(await act()).toBe("quota");
        }, 60_000);
      }
    });
  }
}

test.each(stores)(
  "on %s a room with one place left gets exactly one of many members that are added at once",
  async (_, flags) => {
    const world = await World.start(flags, { rooms: { statements_per_minute: 0 } });
    await using running = world.running;
    const owner = await world.user();
    let room = await createRoom(running.server, owner, policy());
    const members = await Promise.all(Array.from({ length: membersMax + 10 }, () => world.add(keyless())));
    const add = (added: readonly Identity[]) => addBody(room, ...added);
    for (let from = 0; from < membersMax - 2; from += 1_000) {
      const next = add(members.slice(from, Math.min(from + 1_000, membersMax - 2)));
      expect(await world.call(owner, "POST", at(room, "/members"), next.body)).toBe("granted");
      room = next.room;
    }
    const rest = members.slice(membersMax - 2);
    const outcomes = await Promise.all(
      rest.map((one) => world.call(owner, "POST", at(room, "/members"), add([one]).body)),
    );
    // All of them sign the same version, so only the first succeeds.
    expect(outcomes.filter((one) => one === "granted")).toHaveLength(1);
    expect(new Set(outcomes)).toEqual(new Set(["granted", "conflict"]));
    const winner = rest[outcomes.indexOf("granted")];
    if (winner === undefined) throw new Error("no addition won");
    room = add([winner]).room;
    const loser = rest.find((one) => one !== winner);
    if (loser === undefined) throw new Error("no addition lost");
    expect(await world.call(owner, "POST", at(room, "/members"), add([loser]).body)).toBe("quota");
  },
  300_000,
);
