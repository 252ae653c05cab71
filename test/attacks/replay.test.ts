/**
 * Replay of signed requests: the same request again, at once or concurrently; its signature on a changed request; after
 * a kill -9 of the server; and to another bus that knows the same key. Each request must pass at most once, on the bus
 * whose host was signed, within the clock tolerance of 30 s. Source: docs/protocol/limits.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { signatureHeaders } from "../../src/wire/sign.ts";
import { Folder, Server, unibus, until } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { call, createBody, freshSubject, newRoom, policy, type Reply, send, signedHeaders } from "../support/peer.ts";

const racers = 32;
let server: Server;
let people: Cast<"ana" | "bob">;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=100000", "--set", 'http.hosts=["bus-a.example"]'] });
  people = await castOf(server, "ana", "bob");
});
afterAll(() => server[Symbol.asyncDispose]());

interface Signed {
  readonly method: string;
  readonly target: string;
  readonly body?: string;
  readonly host?: string;
  readonly skewS?: number;
  readonly nonce?: string;
}
const headersOf = (identity: Identity, request: Signed) =>
  signedHeaders(identity, { url: server.ready.http, ...request });
const post = (headers: Record<string, string>, { method, target, body }: Signed, base = server.ready.http) =>
  send(`${base}${target}`, { method, headers, ...(body === undefined ? {} : { body }) });
const get = { method: "GET", target: "/directory" } as const;
const outcome = ({ status, json }: Reply) => [status, json.code];

describe("a replayed request", () => {
  test("is refused, whatever the second one is", async () => {
    const headers = headersOf(people.ana, get);
    expect((await post(headers, get)).status).toBe(200);
    for (let i = 0; i < 3; i++) {
      const again = await post(headers, get);
      expect(outcome(again)).toEqual([401, "unauthenticated"]);
      expect(again.json.error).toContain("nonce already used");
    }
    expect((await post(headersOf(people.ana, get), get)).status).toBe(200);
  });

  test(`${racers} times at once is accepted once`, async () => {
    const room = { method: "POST", target: "/rooms", body: "" };
    const body = JSON.stringify(createBody(newRoom(people.ana, freshSubject(), policy())));
    const request = { ...room, body };
    const headers = headersOf(people.ana, request);
    const replies = await Promise.all(Array.from({ length: racers }, () => post(headers, request)));
    expect(replies.map(({ status }) => status).sort()).toEqual([201, ...Array(racers - 1).fill(401)]);
  });

  test("is refused even if the first one was refused for its content", async () => {
    const request = { method: "GET", target: "/rooms/01ARZ3NDEKTSV4RRFFQ69G5FAV" };
    const headers = headersOf(people.ana, request);
    expect(outcome(await post(headers, request))).toEqual([404, "not_found"]);
    expect(outcome(await post(headers, request))).toEqual([401, "unauthenticated"]);
  });

  test("with the same nonce under another key is refused, and costs the owner of the nonce nothing", async () => {
    const nonce = Buffer.alloc(16, 9).toString("base64");
    expect((await post(headersOf(people.ana, { ...get, nonce }), get)).status).toBe(200);
    expect(outcome(await post(headersOf(people.bob, { ...get, nonce }), get))).toEqual([401, "unauthenticated"]);
    expect((await post(headersOf(people.bob, get), get)).status).toBe(200);
  });
});

describe("a signature that is moved to another request", () => {
  const body = () => JSON.stringify(createBody(newRoom(people.ana, freshSubject(), policy())));
  const moved: Readonly<Record<string, (headers: Record<string, string>, first: string) => Promise<Reply>>> = {
    "another method": (headers) => post(headers, { method: "DELETE", target: "/rooms" }),
    "another path": (headers, first) => post(headers, { method: "POST", target: "/users", body: first }),
    "another query": (headers, first) => post(headers, { method: "POST", target: "/rooms?x=1", body: first }),
    "another host": (headers, first) =>
      post({ ...headers, [signatureHeaders.host]: "bus-a.example" }, { method: "POST", target: "/rooms", body: first }),
    "another time": (headers, first) => {
      const ts = String(Number(headers[signatureHeaders.ts]) + 1);
      return post({ ...headers, [signatureHeaders.ts]: ts }, { method: "POST", target: "/rooms", body: first });
    },
    "another nonce": (headers, first) => {
      const nonce = Buffer.alloc(16, 1).toString("base64");
      return post({ ...headers, [signatureHeaders.nonce]: nonce }, { method: "POST", target: "/rooms", body: first });
    },
    "another key": (headers, first) => {
      const key = { [signatureHeaders.pub]: people.bob.signPubHex };
      return post({ ...headers, ...key }, { method: "POST", target: "/rooms", body: first });
    },
  };
  for (const [what, send] of Object.entries(moved)) {
    test(`${what}: refused`, async () => {
      const first = body();
      const reply = await send(headersOf(people.ana, { method: "POST", target: "/rooms", body: first }), first);
      expect([401, 405]).toContain(reply.status);
    });
  }

  test("another body: 400, and nothing is created", async () => {
    const [signedBody, sentBody] = [body(), body()];
    const headers = headersOf(people.ana, { method: "POST", target: "/rooms", body: signedBody });
    const before = (await call(server.ready.http, people.ana, "GET", `/members/${people.ana.endpoint}/rooms`)).text;
    const reply = await post(headers, { method: "POST", target: "/rooms", body: sentBody });
    expect(outcome(reply)).toEqual([400, "invalid"]);
    const none = await post(headersOf(people.ana, { method: "POST", target: "/rooms", body: signedBody }), {
      method: "POST",
      target: "/rooms",
    });
    expect(outcome(none)).toEqual([400, "invalid"]);
    expect((await call(server.ready.http, people.ana, "GET", `/members/${people.ana.endpoint}/rooms`)).text).toBe(
      before,
    );
  });
});

describe("a wrong clock", () => {
  test("by more than 30 s: clock_skew, with both times; by less is accepted", async () => {
    for (const skewS of [-40, -33, 33, 40, 3_600, 1e9]) {
      const reply = await post(headersOf(people.ana, { ...get, skewS }), get);
      expect(outcome(reply)).toEqual([401, "clock_skew"]);
      expect(reply.json.error).toMatch(/the request says \d+, the server's clock \d+/);
    }
    for (const skewS of [-27, 0, 27])
      expect((await post(headersOf(people.ana, { ...get, skewS }), get)).status).toBe(200);
  });
});

describe("another server that knows the same key", () => {
  test("refuses a request that was signed for this one, and names its own host", async () => {
    await using other = await Server.start({ args: ["--set", 'http.hosts=["bus-b.example"]'] });
    const { signPubHex, kexPubHex, kexSig } = people.ana;
    const keys = ["--sign-pub", signPubHex, "--kex-pub", kexPubHex, "--kex-sig", kexSig];
    const added = await unibus(other.folder, ["user", "add", "ana", ...keys, "--data", other.data]);
    expect(added.code).toBe(0);
    await until("the other server has the user", async () => {
      return (await call(other.ready.http, people.ana, "GET", "/directory")).status === 200;
    });

    const forA = headersOf(people.ana, { ...get, host: "bus-a.example" });
    const refused = await post(forA, get, other.ready.http);
    expect(outcome(refused)).toEqual([401, "wrong_host"]);
    expect(refused.json.error).toContain("bus-a.example");
    expect(refused.json.error).toContain("bus-b.example");
    // The nonce was not spent there: the request is still valid at its intended bus.
    expect((await post(forA, get)).status).toBe(200);
    expect((await post(headersOf(people.ana, { ...get, host: "bus-b.example" }), get, other.ready.http)).status).toBe(
      200,
    );
  });

  const hosts = ["evil.example", "bus-a.example:81", "bus-a.example.evil.example", "localhost.evil.example"];
  const malformed = ["", "BUS-A.example", "bus-a.example/", "bus-a.example x", "http://bus-a.example", "é"];
  for (const host of [...hosts, ...malformed]) {
    test(`a request for ${JSON.stringify(host)} is refused`, async () => {
      const headers = headersOf(people.ana, { ...get, host });
      const sent = host === "é" ? { ...headers, [signatureHeaders.host]: "xn--9ca" } : headers;
      expect((await post(sent, get)).status).toBe(401);
    });
  }

  test("loopback names are accepted with the server's own port only, and never through a proxy or tunnel", async () => {
    const { port } = new URL(server.ready.http);
    const own = [`localhost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`];
    for (const host of [...own, "bus-a.example"]) {
      expect([host, (await post(headersOf(people.ana, { ...get, host }), get)).status]).toEqual([host, 200]);
    }
    const others = ["localhost", "127.0.0.1:1", "[::1]:99", "localhost:65535", `127.0.0.2:${port}`];
    for (const host of others) {
      const reply = await post(headersOf(people.ana, { ...get, host }), get);
      expect([host, ...outcome(reply)]).toEqual([host, 401, "wrong_host"]);
    }
    for (const [name, value] of [
      ["Forwarded", "for=203.0.113.5"],
      ["X-Forwarded-For", "127.0.0.1"],
      ["X-Forwarded-Proto", "https"],
      ["X-Forwarded-Anything", ""],
      ["Via", "1.1 tunnel"],
      ["X-Real-IP", "127.0.0.1"],
    ] as const) {
      const headers = { ...headersOf(people.ana, { ...get, host: own[0] ?? "" }), [name]: value };
      expect([name, ...outcome(await post(headers, get))]).toEqual([name, 401, "wrong_host"]);
      const named = { ...headersOf(people.ana, { ...get, host: "bus-a.example" }), [name]: value };
      expect([name, (await post(named, get)).status]).toEqual([name, 200]);
    }
  });
});

test("a replayed request is refused after kill -9", async () => {
  using folder = new Folder();
  const args = ["--set", 'http.hosts=["bus-a.example"]'];
  await using first = await Server.start({ folder, args });
  const { ana } = await castOf(first, "ana");
  const spent = Array.from({ length: 5 }, () =>
    signedHeaders(ana, { url: first.ready.http, host: "bus-a.example", ...get }),
  );
  for (const headers of spent) expect((await post(headers, get, first.ready.http)).status).toBe(200);
  const unsent = signedHeaders(ana, { url: first.ready.http, host: "bus-a.example", ...get });
  await first.end("SIGKILL");

  await using second = await Server.start({ folder, args });
  for (const headers of spent) {
    const reply = await post(headers, get, second.ready.http);
    expect(outcome(reply)).toEqual([401, "unauthenticated"]);
    expect(reply.json.error).toContain("nonce already used");
  }
  expect((await post(unsent, get, second.ready.http)).status).toBe(200);
  expect(outcome(await post(unsent, get, second.ready.http))).toEqual([401, "unauthenticated"]);
}, 30_000);
