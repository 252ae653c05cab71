/**
 * A server that forwards a login signed for another host, and bare-nonce logins where they are disabled.
 * Source: docs/protocol/logins.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Server, until } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { rawSign } from "../support/peer.ts";
import { loginOf, RawNats } from "../support/raw-nats.ts";

const denied = "Authorization Violation";

let open: Server;
let strict: Server;
let people: Cast<"ana">;
let strictPeople: Cast<"ana">;

beforeAll(async () => {
  const hosts = ["--set", 'http.hosts=["bus.example:9000","other.example","127.0.0.1:1234"]'];
  const settings = [...hosts, "--set", "auth.stock_clients=false"];
  [open, strict] = await Promise.all([Server.start(), Server.start({ args: settings })]);
  [people, strictPeople] = await Promise.all([castOf(open, "ana"), castOf(strict, "ana")]);
});
afterAll(async () => {
  await open[Symbol.asyncDispose]();
  await strict[Symbol.asyncDispose]();
});

const portOf = (url: string): number => Number(new URL(url).port);

async function login(
  server: Server,
  user: Pick<Cast<"ana">, "ana">,
  host: string,
  url = server.ready.nats,
): Promise<string> {
  using raw = await RawNats.open(url);
  return await raw.login(loginOf(user.ana, raw, { host }));
}

describe("a login signed for another host or port", () => {
  const wrong: Readonly<Record<string, (port: number) => string>> = {
    "another name": (port) => `evil.example:${port}`,
    "a name that begins like one of this machine's": (port) => `127.0.0.1.evil.example:${port}`,
    "the public name of another server": (port) => `bus.example:${port}`,
    "another loopback address": (port) => `127.0.0.2:${port}`,
    "a name with a trailing dot": (port) => `localhost.:${port}`,
    "a name in capitals": (port) => `LOCALHOST:${port}`,
    nothing: () => "",
    "a port only": (port) => `:${port}`,
    "another port, where a hostile server or tunnel may listen": (port) => `127.0.0.1:${port + 1}`,
    "the port of another server on this machine": () => `127.0.0.1:${portOf(strict.ready.nats)}`,
    "no port, as in version 1": () => "127.0.0.1",
    "IPv6 without brackets": (port) => `::1:${port}`,
  };
  for (const [what, host] of Object.entries(wrong)) {
    test(`${what} is refused`, async () => {
      expect(await login(open, people, host(portOf(open.ready.nats)))).toBe(denied);
    });
  }

  for (const name of ["127.0.0.1", "localhost", "[::1]"]) {
    test(`${name} with a port of this server is accepted`, async () => {
      for (const url of [open.ready.nats, open.ready.ws]) {
        expect(await login(open, people, `${name}:${portOf(url)}`, url)).toBe("");
      }
    });
  }

  test("an entry of `hosts` is accepted as written; without a port it means the bound ports", async () => {
    for (const host of ["bus.example:9000", "127.0.0.1:1234", `other.example:${portOf(strict.ready.nats)}`]) {
      expect([host, await login(strict, strictPeople, host)]).toEqual([host, ""]);
    }
    for (const host of ["bus.example", `bus.example:${portOf(strict.ready.nats)}`, "other.example:9000"]) {
      expect([host, await login(strict, strictPeople, host)]).toEqual([host, denied]);
    }
  });

  test("the text of version 1 is refused, and the log says what to sign instead", async () => {
    await using server = await Server.start({ args: ["--log", "json"] });
    const { ana } = await castOf(server, "ana");
    using raw = await RawNats.open(server.ready.nats);
    const sig = Buffer.from(rawSign(ana, `unibus-nats-v1\n127.0.0.1\n${raw.info.nonce}`)).toString("base64url");
    expect(await raw.login({ nkey: ana.nkey, sig })).toBe(denied);
    using other = await RawNats.open(server.ready.nats);
    expect(await other.login(loginOf(ana, other, { host: "192.168.1.1:4711" }))).toBe(denied);
    await server.end();
    const { stderr } = await server.output();
    expect(stderr).toContain(
      "signed as unibus-nats-v1 (update the client: sign unibus-nats-v2, the host with its port)",
    );
    expect(stderr).toContain("invalid signature (sign unibus-nats-v2 with the host:port that was dialled)");
  });

  test("a server with a public name refuses loopback names, and the log says which name to sign for", async () => {
    await using server = await Server.start({ args: ["--public-url", "https://bus.example", "--log", "json"] });
    const { ana } = await castOf(server, "ana");
    const port = portOf(server.ready.nats);
    expect(await login(server, { ana }, `127.0.0.1:${port}`)).toBe(denied);
    for (const host of [`bus.example:${port}`, "bus.example:443"]) {
      expect([host, await login(server, { ana }, host)]).toEqual([host, ""]);
    }
    await until("the refusal is logged", async () => (await server.end()) === 0);
    expect((await server.output()).stderr).toContain(
      `login signed for \\"127.0.0.1:${port}\\", but this bus answers to https://bus.example (sign for bus.example:${port}`,
    );
  });
});

describe("the bare nonce", () => {
  test("is refused when stock_clients is off", async () => {
    using raw = await RawNats.open(strict.ready.nats);
    expect(await raw.login(loginOf(strictPeople.ana, raw, { stock: true }))).toBe(denied);
    using again = await RawNats.open(strict.ready.nats);
    expect(await again.login(loginOf(strictPeople.ana, again))).toBe("");
  });

  test("is accepted by default", async () => {
    using raw = await RawNats.open(open.ready.nats);
    expect(await raw.login(loginOf(people.ana, raw, { stock: true }))).toBe("");
  });
});
