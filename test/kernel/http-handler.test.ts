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
    "POST",
    "/notes",
    "signed",
    { summary: "Takes a note.", body: Note, reply: Note, status: 201 },
    async (call) => call.body,
  ),
  route(
    "POST",
    "/notes/:id",
    "signed",
    { summary: "Takes a note.", params, query, body: Note, reply: Type.Any() },
    async (call) => {
      if (call.params.id === 404) throw new UnibusError("not_found", "there is no such note");
      return { id: call.params.id, limit: call.query.limit, text: call.body.text, by: call.caller.handle };
    },
  ),
  route("DELETE", "/notes/:id", "admin", { summary: "Forgets a note.", params }, async () => undefined),
  route("GET", "/notes", "public", { summary: "Lists.", query, reply: Type.Any() }, async (call) => ({
    ...call.query,
    caller: "caller" in call ? call.caller : 0,
  })),
);

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const ana = { "x-who": "ana" };

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
    ["POST", "/notes", { "x-who": "root" }, 201],
    ["DELETE", "/notes/1", {}, 401],
    ["DELETE", "/notes/1", ana, 403],
    ["DELETE", "/notes/1", { "x-who": "root" }, 204],
  ];
  test.each(table)("%s %s by %o: %d", async (method, path, headers, status) => {
    await using bus = await serving([notes, nameAuth().plugin]);
    const body = method === "POST" ? { body: '{"text":"a"}' } : {};
    expect((await ask(bus.url, method, path, { headers, ...body }))[0]).toBe(status);
  });

  test("an admin route takes no caller who is only named", async () => {
    await using bus = await serving([notes, nameAuth({ signed: false }).plugin]);
    expect((await ask(bus.url, "DELETE", "/notes/1", { headers: { "x-who": "root" } }))[0]).toBe(401);
    expect((await ask(bus.url, "POST", "/notes", { headers: ana, body: '{"text":"a"}' }))[0]).toBe(201);
  });

  test("a public route asks nobody, and has no caller", async () => {
    const auth = nameAuth();
    await using bus = await serving([notes, auth.plugin]);
    expect(await ask(bus.url, "GET", "/notes?limit=3", { headers: ana })).toEqual([200, { limit: 3, caller: null }]);
    expect(auth.asked).toEqual([]);
  });

  test("who authenticates is asked for the target exactly as it was sent", async () => {
    const auth = nameAuth();
    await using bus = await serving([notes, auth.plugin]);
    await ask(bus.url, "POST", "/notes/%31?limit=%31&limit=2&", { headers: ana, body: "{}" });
    expect(auth.asked).toEqual(["/notes/%31?limit=%31&limit=2&"]);
  });

  test("too many requests that fail to authenticate are told to wait", async () => {
    await using bus = await serving([notes, nameAuth().plugin], { http: { rate: 30 }, now: () => 0 });
    const statuses: number[] = [];
    for (let i = 0; i < 8; i++) statuses.push((await ask(bus.url, "POST", "/notes"))[0]);
    expect(statuses).toEqual([401, 401, 401, 401, 401, 401, 429, 429]);
    expect((await ask(bus.url, "POST", "/notes", { headers: ana, body: '{"text":"a"}' }))[0]).toBe(201);
  });
});

describe("the parts of a request are checked, and refused naming the part, the key and what belongs there:", () => {
  const table: readonly (readonly [string, string, string, string])[] = [
    ["no JSON", "/notes", "{", "the request body is not JSON (send JSON in UTF-8)"],
    ["no body", "/notes", "", "the request body is not JSON (send JSON in UTF-8)"],
    ["no UTF-8", "/notes", '{"text":"\u00ff"}', "the request body is not JSON (send JSON in UTF-8)"],
    ["another type", "/notes", "[]", "body: Expected object"],
    ["a missing key", "/notes", "{}", "body, text: Expected required property (wanted: a short text)"],
    ["a wrong type", "/notes", '{"text":1}', "body, text: Expected string (wanted: a short text)"],
    ["a number as a text", "/notes", '{"text":"a","count":"1"}', "body, count: Expected integer"],
    ["an unknown key", "/notes", '{"text":"a","by":"me"}', "body, by: Unexpected property"],
    ["a forged prototype", "/notes", '{"text":"a","__proto__":{}}', "body, __proto__: Unexpected property"],
    ["a long text", "/notes", '{"text":"abcdef"}', "body, text: Expected string length less or equal to 5 (wanted: a"],
    ["a path's number", "/notes/one", '{"text":"a"}', "path, id: Expected integer"],
    ["a path's fraction", "/notes/1.5", '{"text":"a"}', "path, id: Expected integer"],
    ["a path's exponent", "/notes/1e3", '{"text":"a"}', "path, id: Expected integer"],
    [
      "a query's range",
      "/notes/1?limit=11",
      '{"text":"a"}',
      "query, limit: Expected integer to be less or equal to 10 (w",
    ],
    ["a query's text", "/notes/1?limit=", '{"text":"a"}', "query, limit: Expected integer (wanted: 1 to 10)"],
  ];
  test.each(table)("%s", async (_, path, body, message) => {
    await using bus = await serving([notes, nameAuth().plugin]);
    const sent = { headers: ana, body: Buffer.from(body, "latin1") };
    const [status, told] = await ask(bus.url, "POST", path, sent);
    expect([status, told]).toMatchObject([400, { code: "invalid" }]);
    expect((told as { error: string }).error).toStartWith(message);
  });

  test("what fits is converted from text and handed on", async () => {
    await using bus = await serving([notes, nameAuth().plugin]);
    const sent = { headers: { ...ana, "content-type": "text/plain" }, body: '{"text":"a"}' };
    const told = { id: 7, limit: 2, text: "a", by: "ana" };
    expect(await ask(bus.url, "POST", "/notes/7?limit=2", sent)).toEqual([200, told]);
  });
});

describe("the order of the checks", () => {
  test("existence is answered before the body is looked at", async () => {
    await using bus = await serving([notes, nameAuth().plugin]);
    const [status] = await ask(bus.url, "POST", "/notes/404", { headers: ana, body: "{" });
    expect(status).toBe(404);
  });

  test("the body's hash is compared before anything is made of it", async () => {
    await using bus = await serving([notes, nameAuth().plugin]);
    const body = '{"text":"a"}';
    const send = (hash: string, path: string) =>
      ask(bus.url, "POST", path, { headers: { ...ana, "x-hash": hash }, body });
    expect(await send(sha256("other"), "/notes/404")).toMatchObject([400, { code: "invalid" }]);
    expect((await send(sha256(body), "/notes/404"))[0]).toBe(404);
    expect((await send(sha256(body), "/notes"))[0]).toBe(201);
  });

  test("a promised body that does not come is refused", async () => {
    await using bus = await serving([notes, nameAuth().plugin]);
    const root = (hash: string) => ({ headers: { "x-who": "root", "x-hash": hash } });
    expect((await ask(bus.url, "DELETE", "/notes/1", root(sha256("x"))))[0]).toBe(400);
    expect((await ask(bus.url, "DELETE", "/notes/1", root(sha256(""))))[0]).toBe(204);
  });

  test("who calls is settled before path and query are looked at", async () => {
    await using bus = await serving([notes, nameAuth().plugin]);
    expect((await ask(bus.url, "POST", "/notes/one?limit=x"))[0]).toBe(401);
    expect((await ask(bus.url, "DELETE", "/notes/one", { headers: ana }))[0]).toBe(403);
  });
});
