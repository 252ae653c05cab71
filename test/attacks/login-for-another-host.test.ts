/** A server that passes on a login signed for another one, and stock logins where they are off. Source: spec 9. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Server } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { loginOf, RawNats } from "../support/raw-nats.ts";

let open: Server;
let strict: Server;
let people: Cast<"ana">;
let strictPeople: Cast<"ana">;

beforeAll(async () => {
  const hosts = ["--set", 'http.hosts=["bus.example:9000"]'];
  const settings = [...hosts, "--set", "auth.stock_clients=false"];
  [open, strict] = await Promise.all([Server.start(), Server.start({ args: settings })]);
  [people, strictPeople] = await Promise.all([castOf(open, "ana"), castOf(strict, "ana")]);
});
afterAll(async () => {
  await open[Symbol.asyncDispose]();
  await strict[Symbol.asyncDispose]();
});

const wrongHosts = [
  "evil.example",
  "127.0.0.1.evil.example",
  "bus.example",
  "127.0.0.2",
  "localhost.",
  "LOCALHOST",
  "",
  "127.0.0.1:1",
  "::1",
];

describe("a login signed for another host", () => {
  for (const host of wrongHosts) {
    test(`${JSON.stringify(host)} is no login`, async () => {
      using raw = await RawNats.open(open.ready.nats);
      expect(await raw.login(loginOf(people.ana, raw, { host }))).toBe("Authorization Violation");
    });
  }

  for (const host of ["127.0.0.1", "localhost", "[::1]"]) {
    test(`${host} is one`, async () => {
      using raw = await RawNats.open(open.ready.nats);
      expect(await raw.login(loginOf(people.ana, raw, { host }))).toBe("");
    });
  }

  test("a name that the setting adds is one, without its port", async () => {
    using raw = await RawNats.open(strict.ready.nats);
    expect(await raw.login(loginOf(strictPeople.ana, raw, { host: "bus.example" }))).toBe("");
    using other = await RawNats.open(strict.ready.nats);
    const refusal = await other.login(loginOf(strictPeople.ana, other, { host: "bus.example:9000" }));
    expect(refusal).toBe("Authorization Violation");
  });
});

describe("the bare nonce", () => {
  test("is no login where stock_clients is off", async () => {
    using raw = await RawNats.open(strict.ready.nats);
    expect(await raw.login(loginOf(strictPeople.ana, raw, { stock: true }))).toBe("Authorization Violation");
    using again = await RawNats.open(strict.ready.nats);
    expect(await again.login(loginOf(strictPeople.ana, again))).toBe("");
  });

  test("is one where nothing is set", async () => {
    using raw = await RawNats.open(open.ready.nats);
    expect(await raw.login(loginOf(people.ana, raw, { stock: true }))).toBe("");
  });
});
