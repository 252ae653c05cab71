/**
 * Strangers try to fill the nonce cache: only requests that a user signed may take an entry.
 * Source: docs/protocol/requests.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { signatureHeaders } from "../../src/wire/sign.ts";
import { Server } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { call, send, signedHeaders } from "../support/peer.ts";

const attempts = 50;
let server: Server;
let people: Cast<"ana">;
let stranger: Identity;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=100000"] });
  people = await castOf(server, "ana");
  stranger = await generateIdentity();
});
afterAll(() => server[Symbol.asyncDispose]());

const journalBytes = () => statSync(join(server.data, "nonces")).size;
const request = { method: "GET", target: "/directory" };
const headersOf = (identity: Identity, more: { host?: string; skewS?: number } = {}) =>
  signedHeaders(identity, { url: server.ready.http, ...request, ...more });

const strangers: Readonly<Record<string, () => Record<string, string>>> = {
  "no signature": () => ({}),
  "a nonce but no signature": () => ({ [signatureHeaders.nonce]: Buffer.alloc(16, 3).toString("base64") }),
  "an unknown key": () => headersOf(stranger),
  "a user's key and a stranger's signature": () => ({
    ...headersOf(stranger),
    [signatureHeaders.pub]: people.ana.signPubHex,
  }),
  "a user's signature of another request": () => ({ ...headersOf(people.ana), [signatureHeaders.ts]: "1" }),
  "a wrong host": () => headersOf(people.ana, { host: "evil.example" }),
  "a wrong clock": () => headersOf(people.ana, { skewS: -100 }),
  "a nonce of another size": () => {
    const nonce = Buffer.alloc(17, 3).toString("base64");
    return signedHeaders(people.ana, { url: server.ready.http, ...request, nonce });
  },
};

describe("a request with", () => {
  for (const [what, headers] of Object.entries(strangers)) {
    test(`${what} takes no space`, async () => {
      const before = journalBytes();
      const replies = await Promise.all(
        Array.from({ length: attempts }, () => send(`${server.ready.http}/directory`, { headers: headers() })),
      );
      expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([401]));
      expect(journalBytes()).toBe(before);
    });
  }

  test("a user's signature takes 56 bytes", async () => {
    const before = journalBytes();
    for (let i = 0; i < 3; i++)
      expect((await call(server.ready.http, people.ana, "GET", "/directory")).status).toBe(200);
    expect(journalBytes() - before).toBe(3 * 56);
  });
});
