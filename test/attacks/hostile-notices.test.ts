/**
 * A server that floods a client with true and forged notices: notices are hints and may cause only a bounded number of
 * reads. Source: docs/protocol/notices.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import { type Server, until } from "../support/executable.ts";
import { HostileScene } from "../support/hostile-scene.ts";

/** How many notices are forged: many times what is read. */
const forged = 1_000;
/** How many reads notices may cause at once; afterwards one per second. Source: docs/protocol/notices.md. */
const burst = 20;

let server: Server;
let admin: Identity;
let scene: HostileScene;

beforeAll(async () => {
  ({ server, admin } = await HostileScene.server());
  scene = await HostileScene.open(server, { admin });
});
afterAll(async () => {
  await scene[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

for (const kinds of [
  ["rekeyed"],
  ["joined"],
  ["rekey_pending"],
  ["role", "removed", "deleted", "revoked", "nonsense"],
]) {
  test(`1,000 forged notices "${kinds}" change nothing, and cause no login and a bounded number of reads`, async () => {
    await using at = await HostileScene.open(server, { admin });
    const { asked } = at.hostile.http;
    const before = asked.length;
    const logins = at.hostile.logins.length;
    const began = performance.now();
    for (let i = 0; i < forged; i++) {
      const room_id = i % 2 === 0 ? at.mine.id : newUlid();
      const subject = `unibus.user.${at.bob.identity.endpoint}.${kinds[i % kinds.length]}`;
      at.hostile.inject(subject, JSON.stringify({ room_id }));
      // Spread over time: each pause allows another read.
      if (i % 5 === 0) await Bun.sleep(5);
    }
    const { id } = await at.mine.send("honest");
    await until("bob has received it", () => at.got.some((message) => message.id === id));
    const reads = asked.slice(before).filter((one) => !one.includes("/history")).length;
    const seconds = (performance.now() - began) / 1_000;
    // Swapping connections reads the list of the user's rooms; reading a room takes at most three requests.
    expect(reads).toBeLessThanOrEqual(3 * (burst + Math.ceil(seconds)) + (burst + Math.ceil(seconds)));
    expect([at.texts, at.ended, at.theirs.epoch]).toEqual([["honest"], undefined, 1]);
    // The peer's permissions are unchanged, so no notice makes it log in again.
    expect(at.hostile.logins.length).toBe(logins);
    expect(at.suspicious).toEqual([]);
  }, 30_000);
}

test("invalid notices are ignored", async () => {
  const { endpoint } = scene.bob.identity;
  const bodies = ["", "{", "null", "[]", '{"room_id":7}', '{"room_id":"../users"}', "x".repeat(1_000_000), "\u0000"];
  for (const body of bodies) {
    for (const kind of ["rekeyed", "joined", "a.b", ""]) {
      const subject = `unibus.user.${endpoint}.${kind}`;
      if (kind !== "" && kind !== "a.b") scene.hostile.inject(subject, body);
    }
  }
  const { id } = await scene.mine.send("honest");
  await until("bob has received it", () => scene.got.some((message) => message.id === id));
  expect(scene.hostile.http.asked.filter((one) => one.includes("users"))).toEqual([]);
  expect(scene.trouble).toEqual([]);
});

test("notices to a client that waits for invitations cause a bounded number of list requests", async () => {
  await using at = await HostileScene.open(server, { admin });
  at.bob.on("invited", () => undefined);
  const lists = () => at.hostile.http.asked.filter((one) => one.includes("accepted=false")).length;
  const [before, began] = [lists(), performance.now()];
  for (let i = 0; i < 200; i++) {
    at.hostile.inject(`unibus.user.${at.bob.identity.endpoint}.joined`, JSON.stringify({ room_id: newUlid() }));
    // Sends each notice after the list request that the previous one could have caused.
    await Bun.sleep(10);
  }
  const seconds = (performance.now() - began) / 1_000;
  const made = lists() - before;
  expect(made).toBeGreaterThanOrEqual(burst);
  expect(made).toBeLessThanOrEqual(burst + Math.ceil(seconds));
}, 30_000);
