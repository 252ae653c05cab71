/**
 * Error bodies must not leak SQL, paths, stack traces or internal names. The tests send malformed paths, queries,
 * bodies, statements, signature headers and raw bytes, as strangers, users and admins, and check that each error has
 * the two documented fields, a known code, its status and a request id.
 * Source: docs/protocol/requests.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { statusOf } from "../../src/wire/errors.ts";
import { signatureHeaders } from "../../src/wire/sign.ts";
import { Server, until } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import {
  createBody,
  createRoom,
  freshSubject,
  newRoom,
  type OwnRoom,
  policy,
  send,
  signedHeaders,
} from "../support/peer.ts";

let server: Server;
let people: Cast<"ana">;
let room: OwnRoom;
let routes: { method: string; path: string }[];

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=1000000"] });
  people = await castOf(server, "ana");
  room = await createRoom(server, people.ana, policy("encrypt", "persist"));
  const { paths } = (await send(`${server.ready.http}/openapi.json`)).json as { paths: Record<string, object> };
  routes = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => ({ method: method.toUpperCase(), path })),
  );
});
afterAll(() => server[Symbol.asyncDispose]());

/** Patterns that no reply may contain: words of the database, the runtime, the file system and the internals. */
const telltales = [
  /sqlite|SQLITE|constraint failed|no such (table|column)|syntax error|near "/,
  /\b(SELECT|INSERT|UPDATE|DELETE|PRAGMA)\b.*\b(FROM|INTO|SET|WHERE)\b/,
  /node_modules|\$bunfs|bun:|node:|\.(ts|js|db|sql|conf)\b/,
  /\bat [\w.<>]+ \(|:\d+:\d+\)|\bstack\b|(Type|Range|Syntax|Reference)Error|undefined is not|is not a function/,
  /\/(home|tmp|var|usr|etc|proc|root)\//,
  /JetStream|\$JS|\$SYS|UNIBUS_[0-9A-Z]{26}|nats:\/\/|unibus-(bus|ctl|auth|sys)\b|ECONN|EPIPE|ENOENT/,
  /\[object |NaN|"cause"|typebox|elysia/i,
];
const paths = () => [server.data, server.folder.path, process.cwd(), server.ready.nats.replace("nats://", "")];

function expectNoTelltale(what: unknown, text: string): void {
  for (const telltale of telltales) expect([what, text]).toEqual([what, expect.not.stringMatching(telltale)]);
  for (const path of paths()) expect([what, text]).toEqual([what, expect.not.stringContaining(path)]);
}

/** Expects a well-formed error: the two fields, a known code, its status, a request id, and no internals. */
function expectPlain(what: unknown, status: number, text: string, requestId: string | null): void {
  if (status < 400) return;
  expectNoTelltale(what, text);
  const body = JSON.parse(text) as { error: string; code: keyof typeof statusOf };
  expect([what, Object.keys(body).sort()]).toEqual([what, ["code", "error"]]);
  expect([what, statusOf[body.code]]).toEqual([what, status as never]);
  expect([what, status]).not.toEqual([what, 500]);
  expect([what, requestId]).toEqual([what, expect.stringMatching(/^[\w-]+$/)]);
}

const signedRequest = async (user: Identity | null, method: string, target: string, body?: string | Uint8Array) => {
  const given = body === undefined ? {} : { body };
  const headers = user === null ? {} : signedHeaders(user, { url: server.ready.http, method, target, ...given });
  return send(`${server.ready.http}${target}`, { method, headers, ...given } as RequestInit);
};

const values = [
  "'",
  "%27%20OR%201=1--",
  "%00",
  "..%2f..%2fetc%2fpasswd",
  "%252e%252e",
  "..",
  "%ff%fe",
  "%zz",
  "%",
  "x".repeat(1_000),
  "-1",
  "9".repeat(40),
  "null",
  "__proto__",
  "constructor",
  "%F0%9F%9A%8C",
  "*",
  "$acme",
  "0".repeat(64),
  "A".repeat(43),
  "01ARZ3NDEKTSV4RRFFQ69G5FAV",
];
const deep = (n: number) => "[".repeat(n) + "]".repeat(n);
const bodies: readonly (string | Uint8Array)[] = [
  "",
  " ",
  "{",
  "nul",
  "null",
  "[]",
  "0",
  '"x"',
  "{}",
  '{"a":1}',
  '{"__proto__":{"x":1}}',
  '{"statement":null}',
  '{"statement":{"text":1,"by":2,"sig":3}}',
  `{"statement":{"text":"x","by":"${"0".repeat(64)}","sig":"${"A".repeat(86)}=="}}`,
  `{"statement":{"text":"${"\\n".repeat(9)}","by":"${"0".repeat(64)}","sig":"${"A".repeat(86)}=="}}`,
  '{"members":[],"statement":{}}',
  '{"members":[{"endpoint":"\'; DROP TABLE rooms; --"}]}',
  '{"sign_pub":"zz","handle":"","role":"root"}',
  `{"sign_pub":"${"f".repeat(64)}","handle":"x","role":"admin"}`,
  `{"token":"${"x".repeat(256)}","sign_pub":"${"0".repeat(64)}","kex_pub":"","kex_sig":""}`,
  '{"kex_pub":"00","kex_sig":"00"}',
  '{"handle":"\\u0000","ttl_s":1e999}',
  deep(100_000),
  `{"a":${"9".repeat(5_000)}}`,
  Buffer.from([0xff, 0xfe, 0x00]),
  Buffer.from('{"handle":"\xff"}', "latin1"),
];

describe("no reply reveals internals", () => {
  test("for bad paths and queries, from any caller", async () => {
    for (const { method, path } of routes) {
      const names = path.match(/\{\w+\}/g) ?? [];
      for (const value of values) {
        const filled = names.reduce((text, name) => text.replace(name, value), path);
        const query = `?limit=${value}&before=${value}&from=${value}&epoch=${value}&${value}`;
        for (const target of names.length > 0
          ? [filled, `${filled}${query}`]
          : [`${path}${query}`, `${path}/${value}`]) {
          for (const user of [people.ana, people.admin, null]) {
            const reply = await signedRequest(user, method, target);
            const what = `${method} ${target.slice(0, 80)} -> ${reply.status}`;
            expectPlain(what, reply.status, reply.text, reply.headers.get("x-request-id"));
          }
        }
      }
    }
  }, 60_000);

  test("for bad bodies, from users and admins", async () => {
    const ids: Readonly<Record<string, string>> = {
      "{id}": room.state.roomId,
      "{endpoint}": people.ana.endpoint,
      "{sign_pub}": "1".repeat(64),
      "{hash}": "0".repeat(64),
    };
    for (const { method, path } of routes.filter((route) => !["GET"].includes(route.method))) {
      // Skips requests that would delete the room or the user and end the test.
      if (method === "DELETE") continue;
      const target = path.replace(/\{\w+\}/g, (name) => ids[name] ?? "");
      for (const body of bodies) {
        for (const user of [people.ana, people.admin]) {
          const reply = await signedRequest(user, method, target, body);
          const what = `${method} ${target} ${body.slice(0, 60)} -> ${reply.status}`;
          expectPlain(what, reply.status, reply.text, reply.headers.get("x-request-id"));
        }
      }
    }
  }, 60_000);

  test("for every statement with one line changed", async () => {
    const made = createBody(newRoom(people.ana, freshSubject(), policy("persist"))) as { statement: { text: string } };
    const lines = made.statement.text.split("\n");
    for (let i = 0; i < lines.length; i++) {
      for (const wrong of ["", "'", "0", "\u0000", "🚌", "x".repeat(2_000), "9".repeat(30)]) {
        const text = lines.map((line, at) => (at === i ? wrong : line)).join("\n");
        const body = JSON.stringify({ ...made, statement: { ...made.statement, text } });
        const reply = await signedRequest(people.ana, "POST", "/rooms", body);
        expect([400, 403, 409]).toContain(reply.status);
        expectPlain([i, wrong], reply.status, reply.text, reply.headers.get("x-request-id"));
      }
    }
  });

  test("for bad signature headers", async () => {
    const target = "/directory";
    for (const name of Object.values(signatureHeaders)) {
      for (const wrong of [
        "",
        "x",
        "'",
        "-1",
        "1e3",
        "0".repeat(8_000),
        "=".repeat(88),
        "A".repeat(88),
        "[::1",
        "%00",
      ]) {
        const headers = signedHeaders(people.ana, { url: server.ready.http, method: "GET", target });
        const reply = await send(`${server.ready.http}${target}`, { headers: { ...headers, [name]: wrong } });
        expect([name, wrong, reply.status]).toEqual([name, wrong, 401]);
        expectPlain([name, wrong], reply.status, reply.text, reply.headers.get("x-request-id"));
      }
    }
  });

  test("for malformed HTTP", async () => {
    const { hostname, port, host } = new URL(server.ready.http);
    const heads = [
      "GET / HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.0\r\n\r\n",
      `GET /info HTTP/1.1\r\nHost: ${host}\r\nHost: evil\r\n\r\n`,
      "GET /info HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET /info HTTP/1.1\r\nHost: /etc/passwd\r\n\r\n",
      "GET /info HTTP/1.1\r\nHost: [::1\r\n\r\n",
      "GET /info HTTP/1.1\r\nHost: \r\n\r\n",
      `GET http://evil.example/info HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
      `GET //etc/passwd HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
      `GET /../../etc/passwd HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
      `GET /info?%zz HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
      `BREW /info HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
      `POST /rooms HTTP/1.1\r\nHost: ${host}\r\nContent-Length: -1\r\n\r\n`,
      `POST /rooms HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx`,
      `POST /rooms HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      `POST /rooms HTTP/1.1\r\nHost: ${host}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`,
      `POST /rooms HTTP/1.1\r\nHost: ${host}\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx`,
      `GET /info HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 2\r\n\r\nxx`,
      `OPTIONS /rooms HTTP/1.1\r\nHost: ${host}\r\nOrigin: https://e\r\nAccess-Control-Request-Method: POST\r\n\r\n`,
      `GET /info HTTP/1.1\r\nHost: ${host}\r\n${"A: b\r\n".repeat(500)}\r\n`,
      `GET /${"x".repeat(40_000)} HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
      "\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003",
      "x\r\n\r\n",
    ];
    for (const head of heads) {
      let text = "";
      let isClosed = false;
      const socket = connect(Number(port), hostname, () => socket.write(Buffer.from(head, "latin1")));
      socket.on("data", (bytes) => {
        text += bytes.toString("latin1");
      });
      socket.on("error", () => undefined);
      socket.on("close", () => {
        isClosed = true;
      });
      // The runtime sends no reply while it still waits for the rest of a head.
      await until("the reply arrived", () => isClosed || text.includes("\r\n\r\n"), 1_000).catch(() => undefined);
      socket.destroy();
      if (!text.startsWith("HTTP/1.1 200")) expectNoTelltale(head.slice(0, 60), text);
      expect([head.slice(0, 60), text.slice(0, 12)]).not.toEqual([head.slice(0, 60), "HTTP/1.1 500"]);
    }
    expect((await send(`${server.ready.http}/healthz`)).status).toBe(200);
  });
});
