/**
 * Request bodies in the HTTP server: size limits, encodings, bodies that a route leaves unread, deadlines, the promised
 * hash, and the memory budget that all bodies share.
 */
import { describe, expect, spyOn, test } from "bun:test";
import { createHash } from "node:crypto";
import { Type } from "@sinclair/typebox";
import { route } from "../../src/contracts/plugin.ts";
import { type BodyRules, RequestBody, withBody } from "../../src/kernel/http-body.ts";
import { bodiesBytesMax, bodyBytesMax } from "../../src/wire/api.ts";
import { hasCode } from "../../src/wire/errors.ts";
import { Bytes } from "../../src/wire/route.ts";
import { until } from "../support/executable.ts";
import { answering, nameAuth, type RawAnswer, raw, serving, Wire } from "./bus.ts";

const Size = Type.Object({ size: Type.Integer() });
const sizes = answering(
  "sizes",
  route(
    {
      method: "POST",
      path: "/small",
      access: "public",
      summary: "Counts.",
      body: Type.String(),
      bodyBytesMax: 100,
      reply: Size,
    },
    async ({ read }) => ({ size: (await read()).length }),
  ),
  route(
    {
      method: "POST",
      path: "/signed",
      access: "signed",
      summary: "Counts.",
      body: Type.String(),
      bodyBytesMax: 100,
      reply: Size,
    },
    async ({ read }) => ({ size: (await read()).length }),
  ),
  route(
    { method: "POST", path: "/usual", access: "public", summary: "Counts.", body: Type.String(), reply: Size },
    async ({ read }) => ({
      size: (await read()).length,
    }),
  ),
  route({ method: "POST", path: "/none", access: "public", summary: "Takes none." }, async () => undefined),
  route({ method: "GET", path: "/none", access: "public", summary: "Takes none." }, async () => undefined),
  route(
    {
      method: "POST",
      path: "/stream",
      access: "public",
      summary: "Counts.",
      body: Bytes,
      stream: true,
      bodyBytesMax: 100,
      reply: Size,
    },
    async ({ stream }) => {
      let size = 0;
      for await (const chunk of stream) size += chunk.byteLength;
      return { size };
    },
  ),
  route(
    {
      method: "POST",
      path: "/unread",
      access: "public",
      summary: "Reads nothing.",
      body: Bytes,
      stream: true,
      reply: Size,
    },
    async () => ({
      size: -1,
    }),
  ),
);

/** JSON text of exactly `bytes` bytes. */
const json = (bytes: number): string => JSON.stringify("x".repeat(bytes - 2));
const head = (path: string, ...headers: string[]): string =>
  [`POST ${path} HTTP/1.1`, "Host: localhost", ...headers, "", ""].join("\r\n");
const declared = (path: string, body: string, ...headers: string[]): string =>
  head(path, `Content-Length: ${Buffer.byteLength(body)}`, ...headers) + body;
const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;
const chunked = (path: string, ...texts: string[]): string =>
  head(path, "Transfer-Encoding: chunked") + texts.map(chunk).join("") + chunk("");
const seen = ({ status, body }: RawAnswer): unknown[] => [
  status,
  status < 300 ? JSON.parse(body).size : JSON.parse(body).code,
];

describe("a body", () => {
  test.each([
    ["/small", 100],
    ["/stream", 100],
    ["/usual", bodyBytesMax],
  ])("of exactly the maximum size is accepted, with Content-Length or chunked: %s", async (path, cap) => {
    await using bus = await serving([sizes, nameAuth().plugin]);
    const size = path === "/stream" ? cap : cap - 2;
    expect(seen(await raw(bus.port, declared(path, json(cap))))).toEqual([200, size]);
    const text = json(cap);
    const parts = [text.slice(0, 40), text.slice(40, 41), text.slice(41)];
    expect(seen(await raw(bus.port, chunked(path, ...parts)))).toEqual([200, size]);
  });

  test.each(["/small", "/signed", "/stream", "/usual", "/none"])(
    "with a Content-Length over the maximum is refused unread: %s",
    async (path) => {
      const auth = nameAuth();
      await using bus = await serving([sizes, auth.plugin]);
      using wire = new Wire(bus.port);
      // Send no byte of the body: a server that waits for it would never answer.
      await wire.write(head(path, `Content-Length: ${path === "/small" ? 101 : 400 * 1_048_576}`));
      const answer = await wire.answer();
      expect(seen(answer)).toEqual([413, "too_large"]);
      expect(answer.headers.get("connection")).toBe("close");
      await wire.closed;
      expect(auth.asked).toEqual([]);
    },
  );

  test.each(["/small", "/stream", "/usual"])("in chunks is cut off when it exceeds the maximum: %s", async (path) => {
    await using bus = await serving([sizes, nameAuth().plugin]);
    using wire = new Wire(bus.port);
    await wire.write(head(path, "Transfer-Encoding: chunked"));
    const part = chunk("x".repeat(64 * 1024));
    let going = true;
    const answered = wire.answer().finally(() => {
      going = false;
    });
    for (let sent = 0; going && sent < 12 * bodyBytesMax; sent += part.length) await wire.write(part);
    const answer = await answered;
    expect(seen(answer)).toEqual([413, "too_large"]);
    expect(answer.headers.get("connection")).toBe("close");
    await wire.closed;
  });

  test.each([["gzip"], ["br"], ["deflate, gzip"]])(
    "with Content-Encoding %s is refused unread with 415",
    async (encoding) => {
      await using bus = await serving([sizes, nameAuth().plugin]);
      using wire = new Wire(bus.port);
      await wire.write(head("/small", `Content-Encoding: ${encoding}`, "Content-Length: 50"));
      const answer = await wire.answer();
      expect([...seen(answer), answer.headers.get("connection")]).toEqual([415, "unsupported", "close"]);
      await wire.closed;
    },
  );

  test("with Content-Encoding identity is accepted", async () => {
    await using bus = await serving([sizes, nameAuth().plugin]);
    expect(seen(await raw(bus.port, declared("/small", json(10), "Content-Encoding: identity")))).toEqual([200, 8]);
  });

  test.each(["GET", "POST"])("is refused, and the connection closed, when the route takes none: %s", async (method) => {
    await using bus = await serving([sizes, nameAuth().plugin]);
    using wire = new Wire(bus.port);
    await wire.write(`${method} /none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n`);
    const answer = await wire.answer();
    expect([...seen(answer), answer.headers.get("connection")]).toEqual([400, "invalid", "close"]);
    await wire.closed;
  });

  test.each([
    ["for an unknown route", "/nowhere", 404, "not_found"],
    ["of an unauthenticated request", "/signed", 401, "unauthenticated"],
    ["of a request with a bad path", "/small%2f", 404, "not_found"],
  ])("%s is not waited for: the refusal closes the connection", async (_, path, status, code) => {
    await using bus = await serving([sizes, nameAuth().plugin]);
    using wire = new Wire(bus.port);
    await wire.write(head(path, "Content-Length: 50"));
    const answer = await wire.answer();
    expect([...seen(answer), answer.headers.get("connection")]).toEqual([status, code, "close"]);
    await wire.closed;
  });

  test("that was read completely leaves the connection open, even if the request is refused", async () => {
    await using bus = await serving([sizes, nameAuth().plugin]);
    using wire = new Wire(bus.port);
    await wire.write(declared("/small", "{"));
    const refused = await wire.answer();
    expect([...seen(refused), refused.headers.get("connection")]).toEqual([400, "invalid", null]);
    await wire.write(declared("/small", json(10)));
    expect(seen(await wire.answer())).toEqual([200, 8]);
  });

  test("that its route leaves unread is not taken for the next request", async () => {
    await using bus = await serving([sizes, nameAuth().plugin]);
    using wire = new Wire(bus.port);
    const body = "GET /stolen HTTP/1.1\r\nHost: x\r\n\r\n";
    await wire.write(head("/unread", `Content-Length: ${body.length}`));
    expect(seen(await wire.answer())).toEqual([200, -1]);
    await wire.write(body + declared("/small", json(10)));
    expect(seen(await wire.answer())).toEqual([200, 8]);
  });
});

/** A request whose body chunks arrive when the test sends them. */
function fed(): { request: Request; feed: ReadableStreamDefaultController<Uint8Array> } {
  let feed: ReadableStreamDefaultController<Uint8Array> | undefined;
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      feed = controller;
    },
  });
  if (feed === undefined) throw new Error("the stream did not start");
  return { request: new Request("http://localhost/", { method: "POST", body }), feed };
}
const rules = { bytesMax: 16 * 1_048_576, hash: null };
const chunksOf = (request: Request, of: BodyRules = rules) => new RequestBody(request).chunks(of);
const read = (request: Request) => withBody(chunksOf(request), async (body) => body.byteLength);
const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "none",
    (error: unknown) =>
      hasCode(error, "timeout") || hasCode(error, "unavailable") || hasCode(error, "invalid")
        ? error.code
        : String(error),
  );

describe("the deadline for a request body", () => {
  test("is ten seconds, plus one second for each 64 KB received", async () => {
    const clock = spyOn(performance, "now");
    try {
      const base = 1_000_000;
      const outcome = async (bytes: number, afterMs: number): Promise<string> => {
        clock.mockReturnValue(base);
        const { request, feed } = fed();
        const reading = codeOf(read(request));
        feed.enqueue(new Uint8Array(bytes));
        await Promise.resolve();
        clock.mockReturnValue(base + afterMs);
        feed.enqueue(new Uint8Array(1));
        for (let turn = 0; turn < 20; turn++) await Promise.resolve();
        if (afterMs < 10_000) feed.close();
        return reading;
      };
      expect(await outcome(1, 9_000)).toBe("none");
      expect(await outcome(1, 10_100)).toBe("timeout");
    } finally {
      clock.mockRestore();
    }
  });
});

test("all bodies in memory share one budget, and return their share", async () => {
  const bytes = 16 * 1_048_576;
  const bodies = Array.from({ length: bodiesBytesMax / bytes }, () => fed());
  const reading = bodies.map(({ request }) => read(request));
  for (const { feed } of bodies) feed.enqueue(new Uint8Array(bytes));
  const one = () =>
    codeOf(withBody(chunksOf(new Request("http://localhost/", { method: "POST", body: "x" })), async () => 1));
  let outcome = "none";
  for (let tries = 0; outcome === "none" && tries < 1_000; tries++) {
    outcome = await one();
    await Bun.sleep(0);
  }
  expect(outcome).toBe("unavailable");
  for (const { feed } of bodies) feed.close();
  expect(await Promise.all(reading)).toEqual(bodies.map(() => bytes));
  expect(await one()).toBe("none");
});

test("of more bodies at once than the budget holds, exactly as many as fit are read, even if slow", async () => {
  const bytes = 4 * 1_048_576;
  const fits = bodiesBytesMax / bytes;
  const { promise: allCame, resolve } = Promise.withResolvers<void>();
  const bodies = Array.from({ length: fits + 3 }, () => fed());
  let held = 0;
  const outcomes = bodies.map(({ request }) =>
    codeOf(
      withBody(chunksOf(request), async () => {
        held += 1;
        await allCame;
      }),
    ),
  );
  // Feed them in small pieces one by one, so that no two bodies complete at the same moment.
  for (const { feed } of bodies) {
    for (let part = 0; part < 8; part++) {
      feed.enqueue(new Uint8Array(bytes / 8));
      await Bun.sleep(0);
    }
    feed.close();
  }
  // Without a budget, the server would hold the excess bodies, too, and refuse none of them.
  const refused = Promise.all(outcomes.slice(fits)).then(() => true);
  await until("the budget is full", async () => {
    if (held > fits) return true;
    return held === fits && (await Promise.race([refused, Bun.sleep(1).then(() => false)]));
  });
  expect(held).toBe(fits);
  resolve();
  const codes = await Promise.all(outcomes);
  expect(codes.filter((code) => code === "none")).toHaveLength(fits);
  expect(new Set(codes)).toEqual(new Set(["none", "unavailable"]));
});

test("a body that ends early returns its share of the budget", async () => {
  for (let i = 0; i < 10; i++) {
    const { request, feed } = fed();
    const reading = codeOf(read(request));
    feed.enqueue(new Uint8Array(15 * 1_048_576));
    await Bun.sleep(0);
    feed.error(new Error("gone"));
    expect(await reading).toBe("invalid");
  }
});

test("the end of a body is checked against its promised hash", async () => {
  const body = "all of it";
  const hash = createHash("sha256").update(body).digest("hex");
  const chunks = (promised: string) =>
    chunksOf(new Request("http://localhost/", { method: "POST", body }), { ...rules, hash: promised });
  expect(await withBody(chunks(hash), async (bytes) => Buffer.from(bytes).toString())).toBe(body);
  expect(await codeOf(withBody(chunks("0".repeat(64)), async () => "used"))).toBe("invalid");
});
