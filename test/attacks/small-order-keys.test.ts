/**
 * Keys of small order, off the curve, or in a non-canonical encoding.
 * Source: docs/protocol/identity.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { keysText } from "../../src/wire/sign.ts";
import { Server, unibus } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { signNow } from "../support/keys-now.ts";
import { call } from "../support/peer.ts";
import { decodes, looseSignKeys, lowOrderKexKeys, smallOrderSignKeys } from "./small-order-keys.ts";

let server: Server;
let people: Cast<never>;
let fresh: Identity;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=100000"] });
  people = await castOf(server);
  fresh = await generateIdentity();
});
afterAll(() => server[Symbol.asyncDispose]());

const offCurve = [2, 5, 7, 8, 11, 13]
  .map((y) => `${y.toString(16).padStart(2, "0")}${"00".repeat(31)}`)
  .filter((key) => !decodes(key));
const post = (body: unknown) => call(server.ready.http, people.admin, "POST", "/users", body);
const users = async () => (await call(server.ready.http, people.admin, "GET", "/users")).text;
const vouch = (identity: Identity, kexPub: string) =>
  Buffer.from(signNow(identity, keysText(identity.signPubHex, kexPub.toLowerCase()))).toString("base64");

test("the lists contain what they claim", () => {
  expect(smallOrderSignKeys).toHaveLength(14);
  expect(lowOrderKexKeys).toHaveLength(14);
  expect(new Set([...smallOrderSignKeys, ...looseSignKeys]).size).toBe(14 + 34);
  expect(offCurve.length).toBeGreaterThan(1);
});

describe("a sign_pub", () => {
  const bad = [...smallOrderSignKeys, ...looseSignKeys, ...offCurve];

  test("of small order or off the curve is refused over HTTP, in either case of letters, with a kex key or without", async () => {
    const before = await users();
    for (const key of bad) {
      for (const sign_pub of [key, key.toUpperCase()]) {
        const alone = await post({ sign_pub, handle: "x", role: "member" });
        expect([key, alone.status, alone.json.code]).toEqual([key, 400, "invalid"]);
        const { kexPubHex, kexSig } = fresh;
        const whole = await post({ sign_pub, handle: "x", role: "admin", kex_pub: kexPubHex, kex_sig: kexSig });
        expect([key, whole.status]).toEqual([key, 400]);
      }
    }
    expect(await users()).toBe(before);
  });

  test("of small order or off the curve is refused on the host", async () => {
    const before = await users();
    const some = [...smallOrderSignKeys.slice(0, 4), looseSignKeys[0] ?? "", offCurve[0] ?? ""];
    const done = await Promise.all(
      some.map((key) => unibus(server.folder, ["user", "add", "x", "--sign-pub", key, "--data", server.data])),
    );
    for (const { code, stdout, stderr } of done) {
      expect([code, stdout]).toEqual([1, ""]);
      expect(stderr).toContain("sign_pub is not a usable Ed25519 key");
    }
    expect(await users()).toBe(before);
  });

  test("of a fresh identity is accepted", async () => {
    const one = await generateIdentity();
    expect((await post({ sign_pub: one.signPubHex, handle: "fine", role: "member" })).status).toBe(201);
  });
});

describe("a kex_pub", () => {
  test("of low order is refused over HTTP, even if its owner vouches for it", async () => {
    const one = await generateIdentity();
    for (const kex_pub of lowOrderKexKeys) {
      const body = { sign_pub: one.signPubHex, handle: "x", role: "member", kex_pub, kex_sig: vouch(one, kex_pub) };
      const reply = await post(body);
      expect([kex_pub, reply.status, reply.json.code]).toEqual([kex_pub, 400, "invalid"]);
    }
    expect((await post({ sign_pub: one.signPubHex, handle: "x", role: "member" })).status).toBe(201);
    for (const kex_pub of lowOrderKexKeys) {
      const keys = { kex_pub, kex_sig: vouch(one, kex_pub) };
      const reply = await call(server.ready.http, one, "PUT", "/users/me/keys", keys);
      expect([kex_pub, reply.status, reply.json.code]).toEqual([kex_pub, 400, "invalid"]);
    }
    const keys = { kex_pub: one.kexPubHex, kex_sig: one.kexSig };
    expect((await call(server.ready.http, one, "PUT", "/users/me/keys", keys)).status).toBe(204);
  });

  test("of low order is refused on the host", async () => {
    const one = await generateIdentity();
    const kex = lowOrderKexKeys[0] ?? "";
    const keys = ["--sign-pub", one.signPubHex, "--kex-pub", kex, "--kex-sig", vouch(one, kex)];
    const done = await unibus(server.folder, ["user", "add", "x", ...keys, "--data", server.data]);
    expect([done.code, done.stdout]).toEqual([1, ""]);
    expect(done.stderr).toContain("kex_pub is not a usable X25519 key");
  });

  test("that another user vouches for is refused", async () => {
    const [one, other] = await Promise.all([generateIdentity(), generateIdentity()]);
    expect((await post({ sign_pub: one.signPubHex, handle: "x", role: "member" })).status).toBe(201);
    const wrong = [
      { kex_pub: other.kexPubHex, kex_sig: other.kexSig },
      { kex_pub: one.kexPubHex, kex_sig: vouch(other, one.kexPubHex) },
      { kex_pub: other.kexPubHex, kex_sig: one.kexSig },
      { kex_pub: one.kexPubHex, kex_sig: `${"A".repeat(86)}==` },
    ];
    for (const keys of wrong) {
      expect((await call(server.ready.http, one, "PUT", "/users/me/keys", keys)).status).toBe(400);
    }
    const right = { kex_pub: one.kexPubHex, kex_sig: one.kexSig };
    expect((await call(server.ready.http, one, "PUT", "/users/me/keys", right)).status).toBe(204);
    // Setting the same key again succeeds; another one never does.
    expect((await call(server.ready.http, one, "PUT", "/users/me/keys", right)).status).toBe(204);
    const another = { kex_pub: other.kexPubHex, kex_sig: vouch(one, other.kexPubHex) };
    expect((await call(server.ready.http, one, "PUT", "/users/me/keys", another)).status).toBe(409);
  });
});
