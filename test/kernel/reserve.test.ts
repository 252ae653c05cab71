/**
 * The disk reserve: which requests are admitted as space runs out, and that every writing route checks it. Routes that
 * free space stay available; a new route that writes must be listed here or be refused.
 * Source: docs/protocol/limits.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { type Space, SpaceReserve, type SpaceUse, StoreReserve } from "../../src/contracts/reserve.ts";
import { UserStore } from "../../src/contracts/store.ts";
import { isUnibusError } from "../../src/wire/errors.ts";
import { until } from "../support/executable.ts";
import { bootInProcess, type InProcess } from "../support/in-process.ts";
import { call } from "../support/peer.ts";

const reserve = 100_000_000;
const free = { open: reserve + 1_000_000, reserved: reserve - 1, last: reserve / 5 - 1 };
const uses: readonly SpaceUse[] = ["grows", "frees", "departs", "nonce"];
const user = { endpoint: "u", role: "member" } as const;
const admin = { endpoint: "a", role: "admin" } as const;

/** A reserve for a disk whose free space the test sets. */
async function over(space: () => Space | null, now = () => 0): Promise<SpaceReserve> {
  const made = await SpaceReserve.start({ measure: async () => space(), full: "it is full", hint: "free some", now });
  made.stop();
  return made;
}

const outcome = (admission: Promise<unknown>): Promise<string> =>
  admission.then(
    () => "yes",
    (error: unknown) => (isUnibusError(error) ? error.code : String(error)),
  );

describe("the space reserve", () => {
  const expected: Readonly<Record<keyof typeof free, Readonly<Record<string, readonly SpaceUse[]>>>> = {
    open: { user: uses, admin: uses, none: uses },
    reserved: { user: uses.slice(1), admin: uses.slice(1), none: uses.slice(1) },
    last: { user: [], admin: ["frees", "nonce"], none: [] },
  };
  for (const state of ["open", "reserved", "last"] as const) {
    test(`admits the right writes while it is ${state}`, async () => {
      for (const [role, writer] of Object.entries({ user, admin, none: null })) {
        for (const use of uses) {
          const one = await over(() => ({ free: free[state], reserve }));
          const wanted = expected[state][role]?.includes(use) ? "yes" : "unavailable";
          expect([role, use, await outcome(one.admit(use, writer))]).toEqual([role, use, wanted]);
        }
      }
    });
  }

  test("admits every write when the free space is unknown", async () => {
    const one = await over(() => null);
    for (const use of uses) expect(await outcome(one.admit(use, null))).toBe("yes");
    expect(one.health()).toEqual({ ok: true });
  });

  test("when the disk is full, health and the error say what is full and how to fix it", async () => {
    const one = await over(() => ({ free: free.reserved, reserve }));
    expect(one.health()).toEqual({ ok: false, detail: "it is full (free some)" });
    const error = await one.admit("grows", user).catch((thrown: Error) => thrown.message);
    expect(error).toBe("it is full: the rest is reserved for removals (free some)");
  });

  test("it does not flap: writes are admitted again only with a quarter more free space than the reserve", async () => {
    let space: Space = { free: reserve, reserve };
    let measured = 0;
    const measure = async () => {
      measured += 1;
      return space;
    };
    const one = await SpaceReserve.start({ measure, full: "full", hint: "x", now: () => 0 });
    try {
      expect(one.health().ok).toBe(false);
      space = { free: reserve * 1.2, reserve };
      const before = measured;
      // The second measurement starts after the result of the first one was applied.
      await until("the space is measured twice", () => measured >= before + 2);
      expect(one.health().ok).toBe(false);
      space = { free: reserve * 1.3, reserve };
      await until("writes are admitted again", () => one.health().ok);
    } finally {
      one.stop();
    }
  });

  test("admitted writes count before the next measurement, so a burst does not use up the reserve", async () => {
    let measured = 0;
    const written = { bytes: 0 };
    const one = await over(() => {
      measured += 1;
      return { free: free.open - written.bytes, reserve };
    });
    let admitted = 0;
    while ((await outcome(one.admit("grows", user, 50_000))) === "yes" && admitted < 1_000) {
      admitted += 1;
      written.bytes += 50_000;
    }
    expect(admitted).toBeGreaterThan(5);
    expect(written.bytes).toBeLessThanOrEqual(free.open - reserve);
    expect(measured).toBeGreaterThan(1);
  });

  test("an estimate that was too high refuses no write", async () => {
    const one = await over(() => ({ free: free.open, reserve }));
    for (let n = 0; n < 100; n++) expect(await outcome(one.admit("grows", user, 400_000))).toBe("yes");
  });
});

describe("kicks and leaves while only the reserve is left", () => {
  test("are limited to one a minute for each user; a failed one does not count", async () => {
    let now = 0;
    const one = await over(
      () => ({ free: free.reserved, reserve }),
      () => now,
    );
    const takeBack = await one.admit("departs", user);
    expect(await outcome(one.admit("departs", user))).toBe("rate_limited");
    expect(await outcome(one.admit("departs", { ...user, endpoint: "v" }))).toBe("yes");
    takeBack?.();
    expect(await outcome(one.admit("departs", user))).toBe("yes");
    now = 59_999;
    expect(await outcome(one.admit("departs", user))).toBe("rate_limited");
    now = 60_000;
    expect(await outcome(one.admit("departs", user))).toBe("yes");
  });

  test("are unlimited while there is space", async () => {
    const one = await over(() => ({ free: free.open, reserve }));
    for (let n = 0; n < 5; n++) expect(await outcome(one.admit("departs", user))).toBe("yes");
  });
});

describe("every route that writes", () => {
  let running: InProcess;
  let ana: Identity;
  let root: Identity;
  let space: Space = { free: free.open, reserve };
  beforeAll(async () => {
    const fake = await SpaceReserve.start({ measure: async () => space, full: "full", hint: "x", now: Date.now });
    running = await bootInProcess({ between: { [StoreReserve.id]: () => fake } });
    [ana, root] = await Promise.all([generateIdentity(), generateIdentity()]);
    for (const [caller, role] of [
      [ana, "member"],
      [root, "admin"],
    ] as const) {
      const { signPubHex, endpoint, kexPubHex, kexSig } = caller;
      await running.bus.service(UserStore)?.insertUser({
        ...{ signPub: signPubHex, endpoint, kexPub: kexPubHex, kexSig, handle: role, role, status: "active" },
        ...{ createdAt: 1, revokedAt: null, revision: 0 },
      });
    }
  }, 60_000);
  afterAll(() => running[Symbol.asyncDispose]());

  /** Routes admitted when the disk is full. All others must be refused, so a new route cannot be forgotten. */
  const removals = new Set([
    "DELETE /blobs/{hash}",
    "DELETE /invites/{id}",
    "DELETE /rooms/{id}",
    "DELETE /rooms/{id}/durable",
    "DELETE /rooms/{id}/members/{endpoint}",
    "DELETE /rooms/{id}/messages/{seq}",
    "DELETE /users/{sign_pub}",
    "POST /users/{sign_pub}/revoke",
    // The rule itself decides, because a rekey may complete a leave.
    "POST /rooms/{id}/rekey",
  ]);
  const adminRemovals = new Set([...removals].filter((name) => !/members|rekey/.test(name)));

  /** The writing routes, as `METHOD path`, that give the caller another answer than "full". */
  async function admitted(caller: Identity): Promise<string[]> {
    const document = (await (await fetch(`${running.bus.site.url()}/openapi.json`)).json()) as {
      paths: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
    };
    const found: string[] = [];
    for (const [path, methods] of Object.entries(document.paths)) {
      for (const method of Object.keys(methods).map((name) => name.toUpperCase())) {
        if (method === "GET") continue;
        const room = path.startsWith("/rooms") ? "0".repeat(26) : "0".repeat(32);
        const named: Readonly<Record<string, string>> = { endpoint: "e".repeat(43), id: room, seq: "1" };
        const target = path.replace(/\{([a-z_]+)\}/g, (_, name: string) => named[name] ?? "0".repeat(64));
        const { status, json } = await call(running.bus.site.url(), caller, method, target);
        const isRefused = status === 503 && /^full: the rest is reserved/.test(String(json.error));
        if (!isRefused) found.push(`${method} ${path}`);
      }
    }
    return found.sort();
  }

  const untilMeasured = async (isOpen: boolean) => {
    const end = performance.now() + 10_000;
    const isReady = async () => (await fetch(`${running.bus.site.url()}/healthz`)).ok;
    expect(await isReady()).toBe(true);
    while (performance.now() < end) {
      const { status } = await call(running.bus.site.url(), root, "POST", "/invites", { handle: "probe" });
      if ((status === 201) === isOpen) return;
      await Bun.sleep(50);
    }
    throw new Error("it was not measured");
  };

  test("is refused in the reserve except for removals; in its last part only admins may remove", async () => {
    await untilMeasured(true);
    space = { free: free.reserved, reserve };
    await untilMeasured(false);
    expect(await admitted(root)).toEqual([...removals].sort());
    space = { free: free.last, reserve };
    const end = performance.now() + 10_000;
    while ((await call(running.bus.site.url(), ana, "GET", "/directory")).status !== 503 && performance.now() < end) {
      await Bun.sleep(50);
    }
    expect(await admitted(root)).toEqual([...adminRemovals, "POST /rooms/{id}/rekey"].sort());
    expect(await admitted(ana)).toEqual([]);
  }, 60_000);
});
