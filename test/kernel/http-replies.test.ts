/** Headers of every reply, and the lifetime of its connection. Source: docs/protocol/requests.md. */
import { expect, spyOn, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import { rawReply, route } from "../../src/contracts/plugin.ts";
import { UnibusError } from "../../src/wire/errors.ts";
import { answering, nameAuth, serving, Wire } from "./bus.ts";

const one = Type.Object({ n: Type.Integer() });
const replies = answering(
  "replies",
  route({ method: "GET", path: "/json", access: "signed", summary: "JSON.", reply: one }, async () => ({ n: 1 })),
  route(
    { method: "GET", path: "/tagged", access: "signed", summary: "With an ETag.", etag: true, reply: one },
    async () => ({ n: 1 }),
  ),
  route({ method: "GET", path: "/raw", access: "signed", summary: "Bytes.", reply: Type.Any() }, async () =>
    rawReply("bytes"),
  ),
  route({ method: "DELETE", path: "/none", access: "signed", summary: "Nothing." }, async () => undefined),
  route({ method: "POST", path: "/made", access: "signed", summary: "Made.", status: 201, reply: one }, async () => ({
    n: 1,
  })),
  route({ method: "GET", path: "/failing", access: "signed", summary: "Fails." }, async () => {
    throw new UnibusError("forbidden", "no (ask)");
  }),
  route({ method: "GET", path: "/own", access: "public", summary: "Says how long.", reply: Type.Any() }, async () =>
    rawReply("page", { headers: { "Cache-Control": "public, max-age=60" } }),
  ),
);

test.each([
  ["GET", "/json", 200, "no-store"],
  ["GET", "/raw", 200, "no-store"],
  ["DELETE", "/none", 204, "no-store"],
  ["POST", "/made", 201, "no-store"],
  ["GET", "/failing", 403, "no-store"],
  ["GET", "/nowhere", 404, "no-store"],
  ["PUT", "/json", 405, "no-store"],
  ["GET", "/tagged", 200, "private, no-cache"],
  ["GET", "/own", 200, "public, max-age=60"],
] as const)("%s %s: %i with Cache-Control: %s", async (method, path, status, cacheControl) => {
  await using bus = await serving([replies, nameAuth().plugin]);
  const reply = await fetch(bus.url + path, { method, headers: { "x-caller": "ana" } });
  expect([reply.status, reply.headers.get("cache-control")]).toEqual([status, cacheControl]);
});

test("a 304 reply contains only the validator and the caching rules", async () => {
  await using bus = await serving([replies, nameAuth().plugin]);
  const headers = { "x-caller": "ana", "if-none-match": "*" };
  const reply = await fetch(`${bus.url}/tagged`, { headers });
  expect([reply.status, reply.headers.get("cache-control")]).toEqual([304, "private, no-cache"]);
});

test("an idle connection stays open for 75 s, or for http.keepalive_s", async () => {
  const serve = spyOn(Bun, "serve");
  try {
    await (await serving([replies, nameAuth().plugin])).bus.stop();
    await using short = await serving([replies, nameAuth().plugin], { http: { keepalive_s: 5 } });
    expect(serve.mock.calls.map(([options]) => (options as { idleTimeout?: number }).idleTimeout)).toEqual([75, 5]);
    using wire = new Wire(short.port);
    const ask = "GET /own HTTP/1.1\r\nHost: localhost\r\n\r\n";
    await wire.write(ask);
    expect((await wire.answer()).status).toBe(200);
    const asked = performance.now();
    await wire.write(ask);
    expect((await wire.answer()).status).toBe(200);
    // No further request follows.
    await wire.closed;
    // The runtime measures idle time in steps of four seconds.
    expect(performance.now() - asked).toBeGreaterThan(3_000);
    expect(performance.now() - asked).toBeLessThan(20_000);
  } finally {
    serve.mockRestore();
  }
}, 40_000);
