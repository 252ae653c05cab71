/**
 * Logins with another user's nkey and a garbage signature, and other invalid logins.
 * Source: docs/protocol/logins.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { natsText } from "../../src/wire/sign.ts";
import { Server } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { rawSign } from "../support/peer.ts";
import { type Credentials, loginOf, RawNats } from "../support/raw-nats.ts";

let server: Server;
let people: Cast<"ana" | "bob">;
let stranger: Identity;

beforeAll(async () => {
  server = await Server.start();
  people = await castOf(server, "ana", "bob");
  stranger = await generateIdentity();
});
afterAll(() => server[Symbol.asyncDispose]());

/** The key that the configuration contains only to make nats-server send a nonce. */
function decoy(): string {
  type Config = { accounts: { NONCE: { users: { nkey: string }[] } } };
  const config = JSON.parse(readFileSync(join(server.data, "nats", "nats.conf"), "utf8")) as Config;
  return config.accounts.NONCE.users[0]?.nkey ?? "";
}

const base64Url = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64url");
const signed = (identity: Identity, text: string) => base64Url(rawSign(identity, text));
const jwtOf = (claims: object) =>
  [{ typ: "JWT", alg: "ed25519-nkey" }, claims, { none: true }].map((part) => btoa(JSON.stringify(part))).join(".");

const logins: Readonly<Record<string, (raw: RawNats) => Credentials>> = {
  "another's nkey and garbage": () => ({ nkey: people.ana.nkey, sig: base64Url(new Uint8Array(64).fill(7)) }),
  "another's nkey and zeros": () => ({ nkey: people.ana.nkey, sig: base64Url(new Uint8Array(64)) }),
  "another's nkey and no signature": () => ({ nkey: people.ana.nkey }),
  "another's nkey and an empty signature": () => ({ nkey: people.ana.nkey, sig: "" }),
  "another's nkey and a short signature": () => ({ nkey: people.ana.nkey, sig: base64Url(new Uint8Array(63)) }),
  "another's nkey and one's own signature": (raw) => ({ ...loginOf(people.bob, raw), nkey: people.ana.nkey }),
  "another's nkey and one's own signature of the nonce": (raw) => ({
    ...loginOf(people.bob, raw, { stock: true }),
    nkey: people.ana.nkey,
  }),
  "a signature with one bit changed": (raw) => {
    const sig = Buffer.from(loginOf(people.ana, raw).sig, "base64url");
    sig[10] = (sig[10] ?? 0) ^ 1;
    return { nkey: people.ana.nkey, sig: base64Url(sig) };
  },
  "a signature over another nonce": (raw) => ({
    nkey: people.ana.nkey,
    sig: signed(people.ana, natsText(raw.host, "A".repeat(15))),
  }),
  "a signature over nothing": () => ({ nkey: people.ana.nkey, sig: signed(people.ana, "") }),
  "a signature of another kind over the nonce": (raw) => ({
    nkey: people.ana.nkey,
    sig: signed(people.ana, `unibus-request-v1\n127.0.0.1\n${raw.info.nonce}`),
  }),
  "an nkey in lowercase": (raw) => ({ ...loginOf(people.ana, raw), nkey: people.ana.nkey.toLowerCase() }),
  "an nkey with a wrong checksum": (raw) => ({
    ...loginOf(people.ana, raw),
    nkey: `${people.ana.nkey.slice(0, -1)}${people.ana.nkey.endsWith("A") ? "B" : "A"}`,
  }),
  "a key of no user": (raw) => loginOf(stranger, raw),
  "a key of no user, signed as stock tools do": (raw) => loginOf(stranger, raw, { stock: true }),
  "the key of the configuration and garbage": () => ({ nkey: decoy(), sig: base64Url(new Uint8Array(64).fill(7)) }),
  "the key of the configuration and another's signature": (raw) => ({ ...loginOf(people.ana, raw), nkey: decoy() }),
  "an internal user with a wrong password": () => ({ user: "unibus-bus", pass: "wrong" }),
  "an internal user with no password": () => ({ user: "unibus-sys" }),
  "an internal user with an empty password": () => ({ user: "unibus-auth", pass: "" }),
  "an internal user's name beside another's nkey": () => ({
    nkey: people.ana.nkey,
    sig: base64Url(new Uint8Array(64).fill(7)),
    user: "unibus-bus",
    pass: "wrong",
  }),
  "an account's name as the user": () => ({ user: "BUS", pass: "BUS" }),
  "a user's nkey as user and password": () => ({ user: people.ana.nkey, pass: people.ana.nkey }),
  "a user key as the user": () => ({ user: people.ana.signPubHex, pass: "" }),
  "a token": () => ({ auth_token: people.ana.signPubHex }),
  "an unsigned JWT": (raw) => ({
    ...loginOf(stranger, raw, { stock: true }),
    jwt: jwtOf({ sub: stranger.nkey, iss: people.ana.nkey, aud: "BUS", nats: { type: "user", version: 2 } }),
  }),
  "nothing at all": () => ({}),
};

describe("over TCP", () => {
  for (const [what, credentials] of Object.entries(logins)) {
    test(`${what} is refused`, async () => {
      using raw = await RawNats.open(server.ready.nats);
      expect(await raw.login(credentials(raw))).toBe("Authorization Violation");
      // The server did not process anything sent after the refusal.
      expect(await raw.exchange("SUB > 1\r\n")).not.toContain("PONG");
    });
  }
});

describe("over WebSocket", () => {
  for (const what of ["another's nkey and garbage", "a key of no user", "nothing at all"]) {
    test(`${what} is refused`, async () => {
      using raw = await RawNats.open(server.ready.ws);
      expect(await raw.login(logins[what]?.(raw) ?? {})).toBe("Authorization Violation");
    });
  }
});

describe("a login is accepted with", () => {
  for (const plane of ["nats", "ws"] as const) {
    for (const stock of [false, true]) {
      const text = stock ? "the bare nonce" : "the text of kind nats";
      test(`${text}, signed by an active user, over ${plane}`, async () => {
        using raw = await RawNats.open(server.ready[plane]);
        expect(await raw.login(loginOf(people.ana, raw, { stock }))).toBe("");
      });
    }
  }

  test("an internal user name beside a valid login gives only the rights of that login", async () => {
    using raw = await RawNats.open(server.ready.nats);
    const refusal = await raw.login({ ...loginOf(people.bob, raw), user: "unibus-bus", pass: "wrong" });
    if (refusal === "") expect(await raw.exchange("SUB > 1\r\n")).toContain("Permissions Violation");
    else expect(refusal).toBe("Authorization Violation");
  });
});
