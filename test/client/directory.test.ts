/** All users whose handles look like a name are found, however many there are. Source: docs/reference/http.md. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { bootInProcess, type InProcess, insertUser } from "../support/in-process.ts";
import { failureOf, trustingPeer } from "../support/trusting-peer.ts";

/** More than the first request for a handle reads. */
const count = 25;

let live: InProcess;
let ana: Identity;
let bobs: Identity[];

beforeAll(async () => {
  live = await bootInProcess();
  ana = await insertUser(live, "ana");
  bobs = [];
  for (let n = 0; n < count; n++) bobs.push(await insertUser(live, n % 2 === 0 ? "bob" : "b0b"));
}, 60_000);
afterAll(() => live[Symbol.asyncDispose]());

const directory = () => trustingPeer(ana, [live.server.ready.http]).directory;
const sorted = (endpoints: readonly string[]) => [...endpoints].sort();

test("all users who look alike are found, also those beyond the first page", async () => {
  const found = await directory().named("bob");
  expect(found.map(({ endpoint }) => endpoint)).toEqual(sorted(bobs.map(({ endpoint }) => endpoint)));
});

test("a handle of very many users selects none of them, and the error lists some of them and says that there are more", async () => {
  const { code, message } = await failureOf(() => directory().find(["bob"]));
  expect(code).toBe("conflict");
  const listed = bobs.filter(({ endpoint }) => message.includes(endpoint));
  expect(listed).toHaveLength(20);
  expect(message).toContain(", and more (");
});
