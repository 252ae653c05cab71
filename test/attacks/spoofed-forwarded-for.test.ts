/**
 * Clients behind one proxy share a rate bucket, and a spoofed X-Forwarded-For must not create new ones.
 * Source: docs/protocol/requests.md.
 * 13.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Server } from "../support/executable.ts";
import { send } from "../support/peer.ts";

/** A rate so low that no token is refilled during the test. */
const rate = 0.01;
/** The burst at that rate: never less than one. */
const burst = 1;

let bare: Server;
let proxied: Server;

beforeAll(async () => {
  const slow = ["--set", `http.rate=${rate}`];
  [bare, proxied] = await Promise.all([
    Server.start({ args: slow }),
    Server.start({ args: [...slow, "--set", 'http.trusted_proxies=["127.0.0.0/8","10.0.0.1"]'] }),
  ]);
});
afterAll(async () => {
  await bare[Symbol.asyncDispose]();
  await proxied[Symbol.asyncDispose]();
});

const from = (server: Server, forwarded?: string) =>
  send(`${server.ready.http}/info`, forwarded === undefined ? {} : { headers: { "x-forwarded-for": forwarded } });

/** Sends a few more requests than the client has tokens. Returns their statuses. */
async function spend(server: Server, forwarded: (i: number) => string): Promise<number[]> {
  const statuses: number[] = [];
  for (let i = 0; i < burst + 3; i++) statuses.push((await from(server, forwarded(i))).status);
  return statuses;
}
const limited = [...Array<number>(burst).fill(200), ...Array<number>(3).fill(429)];

test("without a trusted proxy no header changes the client", async () => {
  expect(await spend(bare, (i) => `203.0.113.${i}`)).toEqual(limited);
  const reply = await from(bare, "203.0.113.99");
  expect([reply.status, reply.json.code]).toEqual([429, "rate_limited"]);
  expect(Number(reply.headers.get("retry-after"))).toBeGreaterThan(0);
  expect((await send(`${bare.ready.http}/healthz`)).status).toBe(200);
});

describe("behind a trusted proxy", () => {
  test("each client has its own bucket", async () => {
    for (let i = 0; i < 20; i++) expect((await from(proxied, `198.51.100.${i}`)).status).toBe(200);
    expect((await from(proxied, "198.51.100.0")).status).toBe(429);
  });

  test("entries that a client adds on the left are not believed", async () => {
    expect(await spend(proxied, (i) => `203.0.113.${i}, 192.0.2.1`)).toEqual(limited);
    expect(await spend(proxied, (i) => `10.0.0.1, 203.0.113.${i}, 192.0.2.2, 10.0.0.1`)).toEqual(limited);
  });

  test("an entry that is not an address ends the search at the last trusted one", async () => {
    expect(await spend(proxied, (i) => `junk-${i}`)).toEqual(limited);
  });

  test("the addresses of one /64 are one client, and so are an IPv4 address and its IPv6 form", async () => {
    expect(await spend(proxied, (i) => `2001:db8:1:2::${i}`)).toEqual(limited);
    expect((await from(proxied, "2001:db8:1:3::1")).status).toBe(200);
    expect((await from(proxied, "192.0.2.7")).status).toBe(200);
    expect((await from(proxied, "::ffff:192.0.2.7")).status).toBe(429);
  });
});
