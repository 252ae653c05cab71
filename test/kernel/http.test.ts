/**
 * The HTTP server: path matching, HEAD, the Host header, replies and errors, the rate limit, CORS, and what is logged.
 * Plugins of the tests replace the built-in ones.
 */
import { describe, expect, test } from "bun:test";
import { createServer } from "node:net";
import { Type } from "@sinclair/typebox";
import { rawReply, route } from "../../src/contracts/plugin.ts";
import { boot } from "../../src/kernel/boot.ts";
import { UnibusError } from "../../src/wire/errors.ts";
import { answering, nameAuth, optionsOf, type RawAnswer, raw, refusalOf, serving } from "./bus.ts";

const Word = Type.String({ maxLength: 8 });
const echo = answering(
  "echo",
  route(
    {
      method: "GET",
      path: "/echo/:word",
      access: "public",
      summary: "Echoes.",
      params: Type.Object({ word: Word }),
      reply: Word,
    },
    async ({ params }) => params.word,
  ),
  route(
    {
      method: "POST",
      path: "/echo/:word",
      access: "public",
      summary: "Takes.",
      params: Type.Object({ word: Word }),
      status: 201,
      reply: Word,
    },
    async () => "made",
  ),
  route({ method: "DELETE", path: "/echo/:word", access: "public", summary: "Forgets." }, async () => undefined),
  route({ method: "GET", path: "/exact", access: "public", summary: "Made by hand.", reply: Word }, async () =>
    rawReply("by hand", { status: 201, headers: { "content-type": "text/plain", "x-own": "1" } }),
  ),
  route(
    {
      method: "GET",
      path: "/count",
      access: "public",
      summary: "Counts.",
      query: Type.Object({ n: Type.Optional(Type.Integer()) }),
      reply: Type.Any(),
    },
    async ({ query }) => query,
  ),
);

const get = (port: number, target: string, ...headers: string[]): Promise<RawAnswer> =>
  raw(port, [`GET ${target} HTTP/1.1`, ...(headers.length > 0 ? headers : ["Host: localhost"]), "", ""].join("\r\n"));
const errorOf = ({ body }: RawAnswer): { error: string; code: string } => JSON.parse(body);

describe("paths", () => {
  const table: readonly (readonly [string, number, string])[] = [
    ["/echo/abc", 200, '"abc"'],
    ["/echo/a%20b", 200, '"a b"'],
    ["/echo/%C3%A9", 200, '"é"'],
    ["/echo/abc?x=%2f", 200, '"abc"'],
    ["/echo/abc/", 404, "not_found"],
    ["/echo/", 404, "not_found"],
    ["/echo", 404, "not_found"],
    ["//echo/abc", 404, "not_found"],
    ["/echo//abc", 404, "not_found"],
    ["/nowhere", 404, "not_found"],
    ["/", 404, "not_found"],
    ["/ECHO/abc", 404, "not_found"],
    ["/healthz/", 404, "not_found"],
    ["/echo/a%2fb", 400, "invalid"],
    ["/echo/a%2Fb", 400, "invalid"],
    ["/echo/a%5cb", 400, "invalid"],
    ["/echo/a%00b", 400, "invalid"],
    ["/echo/%zz", 400, "invalid"],
    ["/echo/%", 400, "invalid"],
    ["/echo/%ff", 400, "invalid"],
    ["/echo/123456789", 400, "invalid"],
    ["/count?n=12", 200, '{"n":12}'],
    ["/count?n=twelve", 400, "invalid"],
    ["/count?n=1.5", 400, "invalid"],
    ["/count?n=", 400, "invalid"],
    ["/count?", 200, "{}"],
  ];
  test("are matched exactly", async () => {
    await using bus = await serving([echo]);
    const seen = await Promise.all(table.map(([target]) => get(bus.port, target)));
    const outcomes = seen.map((answer) =>
      answer.status === 200 ? Buffer.from(answer.body, "latin1").toString() : errorOf(answer).code,
    );
    const rows = table.map(([target], i) => [target, seen[i]?.status, outcomes[i]]);
    expect(rows).toEqual(table.map((row) => [...row]));
  });

  test.each([
    ["PUT", "/echo/abc", "GET, HEAD, POST, DELETE"],
    ["PATCH", "/echo/abc", "GET, HEAD, POST, DELETE"],
    ["POST", "/healthz", "GET, HEAD"],
    ["OPTIONS", "/healthz", "GET, HEAD"],
    ["DELETE", "/exact", "GET, HEAD"],
  ])("%s %s: 405, and Allow names the methods of the path", async (method, target, allow) => {
    const message = `method ${method} is not allowed (use ${allow})`;
    await using bus = await serving([echo]);
    const answer = await raw(bus.port, `${method} ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    expect([answer.status, errorOf(answer)]).toEqual([405, { error: message, code: "method_not_allowed" }]);
    expect(answer.headers.get("allow")).toBe(allow);
  });

  test("HEAD answers as GET does, without the body", async () => {
    await using bus = await serving([echo]);
    const reply = await fetch(`${bus.url}/echo/abc`, { method: "HEAD" });
    expect([reply.status, await reply.text()]).toEqual([200, ""]);
  });
});

describe("the Host header", () => {
  test.each(["x", "ab", "abc", "localhost", "localhost:1", "[::1]:80", "bus.example.org", "a.b:65535"])(
    "may be %s",
    async (host) => {
      await using bus = await serving([echo]);
      const answer = await get(bus.port, "/echo/abc", `Host: ${host}`);
      expect([answer.status, answer.body]).toEqual([200, '"abc"']);
      expect((await get(bus.port, "/echo/abc/", `Host: ${host}`)).status).toBe(404);
    },
  );

  test.each([
    ["repeated", ["Host: localhost", "Host: localhost"]],
    ["repeated with another value", ["Host: localhost", "Host: other"]],
    ["a list", ["Host: localhost, other"]],
    ["malformed", ["Host: ["]],
    ["not a host", ["Host: a b"]],
    ["with a path", ["Host: localhost/x"]],
    ["with a bad port", ["Host: localhost:99999999"]],
    ["missing", ["X-None: 1"]],
    ["empty", ["Host: "]],
  ])("is refused when it is %s: 400, and the server keeps running", async (_, headers) => {
    await using bus = await serving([echo]);
    const answer = await get(bus.port, "/echo/abc", ...headers);
    expect(answer.status).toBe(400);
    expect(answer.body).not.toContain("<");
    expect((await get(bus.port, "/echo/abc")).status).toBe(200);
  });
});

describe("replies", () => {
  test("have the status of the route, and a unique request id", async () => {
    await using bus = await serving([echo]);
    const replies = await Promise.all([
      fetch(`${bus.url}/echo/abc`),
      fetch(`${bus.url}/echo/abc`, { method: "POST" }),
      fetch(`${bus.url}/echo/abc`, { method: "DELETE" }),
      fetch(`${bus.url}/exact`),
      fetch(`${bus.url}/nowhere`),
    ]);
    expect(replies.map(({ status }) => status)).toEqual([200, 201, 204, 201, 404]);
    expect(replies.map(({ headers }) => headers.get("content-type"))).toEqual([
      "application/json;charset=utf-8",
      "application/json;charset=utf-8",
      null,
      "text/plain",
      "application/json;charset=utf-8",
    ]);
    expect(await replies[3]?.text()).toBe("by hand");
    expect(replies[3]?.headers.get("x-own")).toBe("1");
    const ids = replies.map(({ headers }) => headers.get("x-request-id"));
    expect(ids.every((id) => /^[a-z0-9]+-[a-z0-9]+$/.test(id ?? ""))).toBe(true);
    expect(new Set(ids).size).toBe(ids.length);
  });

  const wild: readonly (readonly [string, unknown])[] = [
    ["an Error", new Error("SELECT secret FROM /etc/passwd at line 3")],
    ["a string", "SELECT secret"],
    ["nothing", undefined],
    ["a filesystem error", Object.assign(new Error("ENOENT: /etc/secret"), { code: "ENOENT" })],
  ];
  test.each(wild)("a handler that throws %s: 500 without its text, and the cause is logged", async (_, thrown) => {
    const fails = route({ method: "GET", path: "/fails", access: "public", summary: "Fails." }, async () => {
      throw thrown;
    });
    await using bus = await serving([answering("fails", fails)]);
    const answer = await get(bus.port, "/fails");
    expect([answer.status, errorOf(answer)]).toEqual([500, { error: "internal error", code: "internal" }]);
    expect(JSON.stringify([...answer.headers])).not.toMatch(/secret|etc/);
    const line = bus.lines.find(({ level }) => level === "error");
    const id = answer.headers.get("x-request-id");
    expect(line?.fields).toMatchObject({ request_id: id, method: "GET", code: "internal", cause: thrown });
  });

  test("a plugin's error is sent with its code, message and Retry-After; its cause is only logged", async () => {
    const cause = new Error("the disk is on fire");
    const fails = route({ method: "GET", path: "/fails", access: "public", summary: "Fails." }, async () => {
      throw new UnibusError("unavailable", "the store is unavailable", { cause, retryAfterS: 7 });
    });
    await using bus = await serving([answering("fails", fails)]);
    const answer = await get(bus.port, "/fails");
    const body = { error: "the store is unavailable", code: "unavailable" };
    expect([answer.status, errorOf(answer), answer.headers.get("retry-after")]).toEqual([503, body, "7"]);
    expect(bus.lines.map(({ fields }) => fields.cause)).toEqual([cause]);
  });

  test("a client error is not logged", async () => {
    await using bus = await serving([echo]);
    await Promise.all(["/nowhere", "/echo/%zz", "/echo/123456789"].map((target) => get(bus.port, target)));
    expect(bus.lines).toEqual([]);
  });
});

describe("the rate limit", () => {
  test("answers 429 with Retry-After and admits requests again after that time; /healthz is exempt", async () => {
    let nowMs = 1_000_000;
    await using bus = await serving([echo], { http: { rate: 2 }, now: () => nowMs });
    const statuses = async (count: number, path: string): Promise<number[]> => {
      const seen: number[] = [];
      for (let i = 0; i < count; i++) seen.push((await fetch(`${bus.url}${path}`)).status);
      return seen;
    };
    expect(await statuses(5, "/echo/a")).toEqual([200, 200, 200, 200, 429]);
    // Unknown paths count against the limit, health checks do not (see docs/protocol/limits.md).
    expect(await statuses(1, "/nowhere")).toEqual([429]);
    expect(await statuses(20, "/healthz")).not.toContain(429);
    const refused = await get(bus.port, "/echo/a");
    expect(errorOf(refused)).toEqual({ error: "too many requests (try again in 1 s)", code: "rate_limited" });
    expect(refused.headers.get("retry-after")).toBe("1");
    expect(refused.headers.has("x-request-id")).toBe(true);
    nowMs += 1_000;
    expect(await statuses(3, "/echo/a")).toEqual([200, 200, 429]);
  });

  test("never locks out every client, even at its lowest value", async () => {
    await using bus = await serving([echo, nameAuth().plugin], { http: { rate: 0.01 } });
    expect((await fetch(`${bus.url}/echo/a`)).status).toBe(200);
    expect((await fetch(`${bus.url}/echo/a`)).headers.get("retry-after")).toBe("100");
  });

  test("counts clients behind a trusted proxy separately, and ignores other X-Forwarded-For headers", async () => {
    const ask = (port: number, forwarded: string) => get(port, "/echo/a", "Host: x", `X-Forwarded-For: ${forwarded}`);
    const burst = async (port: number, of: (i: number) => string): Promise<number[]> => {
      const answers: RawAnswer[] = [];
      for (let i = 0; i < 3; i++) answers.push(await ask(port, of(i)));
      return answers.map(({ status }) => status);
    };
    const now = () => 0;
    await using open = await serving([echo], { http: { rate: 1 }, now });
    expect(await burst(open.port, (i) => `203.0.113.${i}`)).toEqual([200, 200, 429]);
    await using proxied = await serving([echo], { http: { rate: 1, trusted_proxies: ["127.0.0.0/8"] }, now });
    expect(await burst(proxied.port, (i) => `203.0.113.${i}`)).toEqual([200, 200, 200]);
    expect(await burst(proxied.port, (i) => `9.9.9.${i}, 203.0.113.77`)).toEqual([200, 200, 429]);
    expect(await burst(proxied.port, (i) => `2001:db8:1:2::${i}`)).toEqual([200, 200, 429]);
  });
});

describe("CORS", () => {
  const origin = "https://chat.example.org";
  const preflight = (url: string, from: string) =>
    fetch(`${url}/echo/a`, { method: "OPTIONS", headers: { origin: from, "access-control-request-method": "POST" } });

  test("answers an allowed origin's preflight with 204 and the allowed headers, unlimited in rate", async () => {
    await using bus = await serving([echo], { http: { cors_origins: [origin], rate: 0.5 }, now: () => 0 });
    const replies = await Promise.all([1, 2, 3].map(() => preflight(bus.url, origin)));
    expect(replies.map(({ status }) => status)).toEqual([204, 204, 204]);
    const allowed = replies[0]?.headers.get("access-control-allow-headers")?.toLowerCase().split(/, */) ?? [];
    const signature = ["host", "pub", "ts", "nonce", "body", "sig"].map((name) => `x-unibus-${name}`);
    for (const name of ["content-type", "authorization", ...signature]) expect(allowed).toContain(name);
    expect(replies[0]?.headers.get("access-control-allow-origin")).toBe(origin);
    expect(replies[0]?.headers.get("vary")).toBe("Origin");
  });

  test("adds its headers to replies and errors for an allowed origin only", async () => {
    await using bus = await serving([echo], { http: { cors_origins: [origin] } });
    const allowed = async (path: string, headers: Record<string, string>): Promise<string | null> =>
      (await fetch(`${bus.url}${path}`, { headers })).headers.get("access-control-allow-origin");
    expect(await allowed("/echo/a", { origin })).toBe(origin);
    expect(await allowed("/nowhere", { origin })).toBe(origin);
    for (const headers of [
      {},
      { origin: "https://evil.example.org" },
      { origin: "null" },
      { origin: `${origin}.evil` },
    ]) {
      expect(await allowed("/echo/a", headers as Record<string, string>)).toBeNull();
    }
  });

  test.each([
    ["from a foreign origin", [origin], "https://evil.example.org"],
    ["when CORS is off", [], origin],
  ])("refuses a preflight %s: 403", async (_, origins, from) => {
    await using bus = await serving([echo], { http: { cors_origins: origins } });
    const reply = await preflight(bus.url, from);
    expect(reply.status).toBe(403);
    expect(await reply.json()).toMatchObject({ code: "forbidden" });
    expect([...reply.headers.keys()].some((name) => name.startsWith("access-control"))).toBe(false);
  });

  test.each([
    "*",
    "chat.example.org",
    "https://chat.example.org/",
    "https://chat.example.org/x",
    "null",
    "ftp://a.org",
  ])("refuses a configured origin that is not exact: %s", async (wrong) => {
    const { message } = await refusalOf(() => boot(optionsOf([echo], { http: { cors_origins: [wrong] } })));
    expect(message).toContain("cors_origins");
  });
});

test("an address in use is refused, with the address and the fix", async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  const address = other.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const options = optionsOf([echo], { http: { listen: `127.0.0.1:${port}` } });
  const { message } = await refusalOf(() => boot(options));
  expect(message).toBe(`http.listen 127.0.0.1:${port}: the address is in use (choose another with --http HOST:PORT)`);
  await new Promise((resolve) => other.close(resolve));
  await (await boot(options)).stop();
});

test("an access log contains method, route, status and id, and nothing from the request's content", async () => {
  await using bus = await serving([echo], { http: { access_log: true } });
  const reply = await fetch(`${bus.url}/echo/secret?token=secret`);
  const line = bus.lines.find(({ message }) => message === "request");
  const id = reply.headers.get("x-request-id");
  expect(line?.fields).toMatchObject({ method: "GET", path: "/echo/:word", status: 200, request_id: id });
  expect(JSON.stringify(bus.lines)).not.toContain("secret");
});
