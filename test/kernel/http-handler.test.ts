/**
 * The HTTP handler: access checks, validation of the parts of a request, and the order in which the checks run.
 * Sends real requests to a bus in this process.
 */
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { Type } from "@sinclair/typebox";
import { route } from "../../src/contracts/plugin.ts";
import { UnibusError } from "../../src/wire/errors.ts";
import { answering, nameAuth, serving } from "./bus.ts";

const Note = Type.Object(
  { text: Type.String({ maxLength: 5, description: "a short text" }), count: Type.Optional(Type.Integer()) },
  { additionalProperties: false },
);
const params = Type.Object({ id: Type.Integer() });
const query = Type.Object({ limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 10, description: "1 to 10" })) });

const notes = answering(
  "notes",
  route(
    {
      method: "POST",
      path: "/notes",
      access: "signed",
      summary: "Takes a note.",
      body: Note,
      reply: Note,
      status: 201,
    },
    async (call) => call.read(),
  ),
  route(
    {
      method: "POST",
      path: "/notes/:id",
      access: "signed",
      summary: "Takes a note.",
      params,
      query,
      body: Note,
      reply: Type.Any(),
    },
    async (call) => {
      if (call.params.id === 404) throw new UnibusError("not_found", "no such note");
      const { text } = await call.read();
      return { id: call.params.id, limit: call.query.limit, text, by: call.caller.handle };
    },
  ),
  route(
    { method: "DELETE", path: "/notes/:id", access: "admin", summary: "Forgets a note.", params },
    async () => undefined,
  ),
  route(
    { method: "GET", path: "/notes", access: "public", summary: "Lists.", query, reply: Type.Any() },
    async (call) => ({
      ...call.query,
      caller: "caller" in call ? call.caller : 0,
    }),
  ),
);

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const ana = { "x-caller": "ana" };

/** Sends a request and returns its status and JSON. */
async function ask(url: string, method: string, path: string, more: RequestInit = {}): Promise<[number, unknown]> {
  const reply = await fetch(`${url}${path}`, { method, ...more });
  const text = await reply.text();
  return [reply.status, text === "" ? null : JSON.parse(text)];
}

describe("access", () => {
  const table: readonly (readonly [string, string, Record<string, string>, number])[] = [
    ["GET", "/notes", {}, 200],
    ["POST", "/notes", {}, 401],
    ["POST", "/notes", ana, 201],
    ["POST", "/notes", { "x-caller": "root" }, 201],
    ["DELETE", "/notes/1", {}, 401],
    ["DELETE", "/notes/1", ana, 403],
    ["DELETE", "/notes/1", { "x-caller": "root" }, 204],
  ];
  test.each(table)("%s %s by %o: %d", async (method, path, headers, status) => {
    await using bus = await serving([notes, nameAuth().plugin]);
    const body = method === "POST" ? { body: '{"text":"a"}' } : {};
    expect((await ask(bus.url, method, path, { headers, ...body }))[0]).toBe(status);
  });

  test("an admin route rejects a caller whose identity is claimed but not proved", async () => {
    await using bus = await serving([notes, nameAuth({ signed: false }).plugin]);
    expect((await ask(bus.url, "DELETE", "/notes/1", { headers: { "x-caller": "root" } }))[0]).toBe(401);
    expect((await ask(bus.url, "POST", "/notes", { headers: ana, body: '{"text":"a"}' }))[0]).toBe(201);
  });

  test("a public route does not authenticate, and has no caller", async () => {
    const auth = nameAuth();
    await using bus = await serving([notes, auth.plugin]);
    expect(await ask(bus.url, "GET", "/notes?limit=3", { headers: ana })).toEqual([200, { limit: 3, caller: null }]);
    expect(auth.asked).toEqual([]);
  });

  test("the authenticator receives the request target exactly as it was sent", async () => {
    const auth = nameAuth();
    await using bus = await serving([notes, auth.plugin]);
    await ask(bus.url, "POST", "/notes/%31?limit=%31&limit=2&", { headers: ana, body: "{}" });
    expect(auth.asked).toEqual(["/notes/%31?limit=%31&limit=2&"]);
  });

  test("after too many failed authentications a client must wait", async () => {
    await using bus = await serving([notes, nameAuth().plugin], { http: { rate: 30 }, now: () => 0 });
    const statuses: number[] = [];
    for (let i = 0; i < 8; i++) statuses.push((await ask(bus.url, "POST", "/notes"))[0]);
    expect(statuses).toEqual([401, 401, 401, 401, 401, 401, 429, 429]);
    expect((await ask(bus.url, "POST", "/notes", { headers: ana, body: '{"text":"a"}' }))[0]).toBe(201);
  });
});

describe("an invalid part of a request is refused, with the part, the key and the expected value:", () => {
  const table: readonly (readonly [string, string, string, string])[] = [
    ["a body that is not JSON", "/notes", "{", "the request body is not JSON (send JSON in UTF-8)"],
    ["an empty body", "/notes", "", "the request body is not JSON (send JSON in UTF-8)"],
    ["a body that is not UTF-8", "/notes", '{"text":"\u00ff"}', "the request body is not JSON (send JSON in UTF-8)"],
    ["a body of another type", "/notes", "[]", "body: Expected object"],
    ["a missing key", "/notes", "{}", "body, text: missing (wanted: a short text)"],
    ["a wrong type", "/notes", '{"text":1}', "body, text: Expected string (wanted: a short text)"],
    ["a number sent as a string", "/notes", '{"text":"a","count":"1"}', "body, count: Expected integer"],
    ["an unknown key", "/notes", '{"text":"a","by":"me"}', "body, by: Unexpected property"],
    ["a forged prototype", "/notes", '{"text":"a","__proto__":{}}', "body, __proto__: Unexpected property"],
    [
      "a string that is too long",
      "/notes",
      '{"text":"abcdef"}',
      "body, text: Expected string length less or equal to 5 (wanted: a",
    ],
    ["a path parameter that is not a number", "/notes/one", '{"text":"a"}', "path, id: Expected integer"],
    ["a path parameter with a fraction", "/notes/1.5", '{"text":"a"}', "path, id: Expected integer"],
    ["a path parameter with an exponent", "/notes/1e3", '{"text":"a"}', "path, id: Expected integer"],
    [
      "a query parameter out of range",
      "/notes/1?limit=11",
      '{"text":"a"}',
      "query, limit: Expected integer to be less or equal to 10 (w",
    ],
    [
      "a query parameter that is empty",
      "/notes/1?limit=",
      '{"text":"a"}',
      "query, limit: Expected integer (wanted: 1 to 10)",
    ],
  ];
  test.each(table)("%s", async (_, path, body, message) => {
    await using bus = await serving([notes, nameAuth().plugin]);
    const sent = { headers: ana, body: Buffer.from(body, "latin1") };
    const [status, reply] = await ask(bus.url, "POST", path, sent);
    expect([status, reply]).toMatchObject([400, { code: "invalid" }]);
    expect((reply as { error: string }).error).toStartWith(message);
  });

  test("valid parameters are converted from strings and passed to the handler", async () => {
    await using bus = await serving([notes, nameAuth().plugin]);
    const sent = { headers: { ...ana, "content-type": "text/plain" }, body: '{"text":"a"}' };
    const expected = { id: 7, limit: 2, text: "a", by: "ana" };
    expect(await ask(bus.url, "POST", "/notes/7?limit=2", sent)).toEqual([200, expected]);
  });
});

describe("the order of the checks", () => {
  test("a missing resource is answered before the body is read", async () => {
    await using bus = await serving([notes, nameAuth().plugin]);
    const [status] = await ask(bus.url, "POST", "/notes/404", { headers: ana, body: "{" });
    expect(status).toBe(404);
  });

  test("the hash of the body is checked before the body is parsed", async () => {
    await using bus = await serving([notes, nameAuth().plugin]);
    const body = '{"text":"a"}';
    const send = (hash: string, path: string) =>
      ask(bus.url, "POST", path, { headers: { ...ana, "x-hash": hash }, body });
    expect(await send(sha256("other"), "/notes/404")).toMatchObject([400, { code: "invalid" }]);
    expect((await send(sha256(body), "/notes/404"))[0]).toBe(404);
    expect((await send(sha256(body), "/notes"))[0]).toBe(201);
  });

  test("a request is refused if its promised body does not arrive", async () => {
    await using bus = await serving([notes, nameAuth().plugin]);
    const root = (hash: string) => ({ headers: { "x-caller": "root", "x-hash": hash } });
    expect((await ask(bus.url, "DELETE", "/notes/1", root(sha256("x"))))[0]).toBe(400);
    expect((await ask(bus.url, "DELETE", "/notes/1", root(sha256(""))))[0]).toBe(204);
  });

  test("the caller is authenticated before path and query are validated", async () => {
    await using bus = await serving([notes, nameAuth().plugin]);
    expect((await ask(bus.url, "POST", "/notes/one?limit=x"))[0]).toBe(401);
    expect((await ask(bus.url, "DELETE", "/notes/one", { headers: ana }))[0]).toBe(403);
  });
});
