/**
 * The client's HTTP transport: signing, failover between addresses, retries, cancellation, and how it validates
 * replies. Runs against local listeners whose answers each test scripts.
 * Source: docs/protocol/requests.md, docs/protocol/logins.md.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Type } from "@sinclair/typebox";
import { Check } from "@sinclair/typebox/value";
import { signatureHolds } from "#verify";
import { identityFromSeeds } from "../../src/client/crypto/identity.ts";
import { ControlPlane } from "../../src/client/transport/control.ts";
import { busUrl } from "../../src/client/transport/http.ts";
import * as api from "../../src/wire/api.ts";
import { fromBase64, sha256Hex } from "../../src/wire/encoding.ts";
import { hasCode, isUnibusError, type UnibusError } from "../../src/wire/errors.ts";
import type { Method } from "../../src/wire/route.ts";
import { requestText } from "../../src/wire/sign.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import { Authority } from "../support/certificates.ts";
import { HostileServer } from "../support/hostile-server.ts";
import { bytes, vectors } from "../support/vectors.ts";

const identity = await identityFromSeeds(bytes(vectors.keys.sign_seed), bytes(vectors.keys.kex_priv));
const iso = (ms: number): string => new Date(ms).toISOString();
const info = { name: "unibus", version: "1", protocol: 1, auth: "enforce", nats: [], ws: [], namespaces: [], time: "" };
info.time = iso(Date.now());
const anything = Type.Unknown();
/** A route that takes any body and answers anything. */
const at = (method: Method, path: `/${string}`) =>
  ({ method, path, access: "signed", summary: "", body: anything, bodyOptional: true, reply: anything }) as const;
const opened: Bun.Server<unknown>[] = [];
afterAll(() => Promise.all(opened.map((server) => server.stop(true))));

/** A server that answers as the test decides, and records the requests. */
function listener(answer: (request: Request, count: number) => Response | Promise<Response>) {
  const asked: { readonly request: Request; readonly body: string }[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) => {
      asked.push({ request, body: await request.clone().text() });
      return answer(request, asked.length);
    },
  });
  opened.push(server);
  return { url: `http://127.0.0.1:${server.port}`, asked, stop: () => server.stop(true) };
}

/** An address without a listener. */
async function deadUrl(): Promise<string> {
  const { url, stop } = listener(() => new Response());
  await stop();
  return url;
}

const refusal = (code: string, status: number, headers: Record<string, string> = {}) =>
  Response.json({ error: `it is ${code}`, code }, { status, headers });

async function failureOf(work: () => Promise<unknown>): Promise<UnibusError> {
  try {
    await work();
  } catch (error) {
    if (isUnibusError(error)) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

const controlOf = (...urls: string[]) => new ControlPlane({ urls, identity });

describe("a request", () => {
  test("is signed for the host as dialled, its target and its body, with a fresh nonce each time", async () => {
    const bus = listener(() => Response.json({}));
    const port = new URL(bus.url).port;
    const control = controlOf(`http://LOCALHOST:${port}/`);
    await control.send(at("POST", "/a?b=%20c"), { body: { d: "é" } });
    await control.send(at("GET", "/e"), {});
    for (const { request, body } of bus.asked) {
      const header = (name: string) => request.headers.get(`x-unibus-${name}`) ?? "";
      const { pathname, search } = new URL(request.url);
      const text = requestText({
        ...{ host: `localhost:${port}`, method: request.method, target: `${pathname}${search}`, ts: header("ts") },
        ...{ nonce: header("nonce"), bodyHash: sha256Hex(body) },
      });
      expect([header("host"), header("pub")]).toEqual([`localhost:${port}`, identity.signPubHex]);
      expect(await signatureHolds(identity.signPubHex, text, fromBase64(header("sig")) ?? new Uint8Array())).toBe(true);
      expect(Math.abs(Number(header("ts")) - Date.now() / 1000)).toBeLessThan(5);
    }
    expect(bus.asked.map(({ body }) => body)).toEqual(['{"d":"é"}', ""]);
    expect(new Set(bus.asked.map(({ request }) => request.headers.get("x-unibus-nonce"))).size).toBe(2);
  });

  test("goes to the next address when one does not answer, signed again, and stays there", async () => {
    const bus = listener(() => Response.json({}));
    const control = controlOf(await deadUrl(), bus.url, await deadUrl());
    for (const method of ["GET", "POST", "PUT", "DELETE"] as const) await control.send(at(method, "/x"), {});
    const { host } = new URL(bus.url);
    expect(bus.asked.map(({ request }) => request.headers.get("x-unibus-host"))).toEqual([host, host, host, host]);
  });

  test("does not try another address after an address has refused it", async () => {
    const other = listener(() => Response.json({}));
    for (const [code, status] of [
      ["forbidden", 403],
      ["clock_skew", 401],
      ["internal", 500],
      ["unavailable", 503],
    ] as const) {
      const bus = listener(() => refusal(code, status));
      const error = await failureOf(() => controlOf(bus.url, other.url).send(at("POST", "/x"), { body: {} }));
      // A request that is refused for its time fetches the server's time and retries.
      const count = code === "clock_skew" ? 2 : 1;
      expect([error.code, error.message, bus.asked.length]).toEqual([code, `it is ${code}`, count]);
    }
    expect(other.asked).toEqual([]);
  });

  test("is not sent to the target of a redirect", async () => {
    const other = listener(() => Response.json({}));
    for (const status of [301, 302, 303, 307, 308]) {
      const bus = listener(() => Response.redirect(`${other.url}/x`, status));
      for (const method of ["GET", "POST"] as const) {
        await failureOf(() => controlOf(bus.url).send(at(method, "/x"), {}));
      }
    }
    expect(other.asked).toEqual([]);
  });

  test("is signed with the server's clock, which is adopted once when a request is refused for its time", async () => {
    for (const aheadMs of [-2 * 3_600_000, 4 * 60_000]) {
      const busMs = () => Date.now() + aheadMs;
      const bus = listener((request) => {
        if (new URL(request.url).pathname === "/info") return Response.json({ ...info, time: iso(busMs()) });
        const isNear = Math.abs(Number(request.headers.get("x-unibus-ts")) * 1_000 - busMs()) < 30_000;
        return isNear ? Response.json({ done: true }) : refusal("clock_skew", 401);
      });
      const control = controlOf(bus.url);
      for (const count of [3, 4]) {
        expect(await control.send(at("POST", "/x"), { body: {} })).toEqual({ done: true });
        expect(bus.asked.length).toBe(count);
      }
    }
    // A server that always refuses gets only one retry.
    const mad = listener((request) =>
      new URL(request.url).pathname === "/info" ? Response.json(info) : refusal("clock_skew", 401),
    );
    expect((await failureOf(() => controlOf(mad.url).send(at("GET", "/x"), {}))).code).toBe("clock_skew");
    expect(mad.asked.length).toBe(3);
    const far = listener((request) =>
      new URL(request.url).pathname === "/info"
        ? Response.json({ ...info, time: iso(Date.now() + 3_600_000) })
        : refusal("clock_skew", 401),
    );
    const error = await failureOf(() => controlOf(far.url).send(at("GET", "/x"), {}));
    expect([error.code, error.message]).toEqual(["clock_skew", expect.stringContaining("ahead of this computer's: ")]);
  });

  test("is sent once more to a single address when its answer was lost", async () => {
    const bus = listener(() => Response.json({ done: true }));
    await using way = await HostileServer.start(bus.url);
    way.rewrite((answer) => (way.asked.length === 1 ? null : answer));
    expect(await controlOf(way.url).send(at("POST", "/x"), { body: {} })).toEqual({ done: true });
    expect(new Set(bus.asked.map(({ request }) => request.headers.get("x-unibus-nonce"))).size).toBe(2);
    const error = await failureOf(async () => controlOf(await deadUrl()).send(at("GET", "/x"), {}));
    expect([error.code, error.message]).toEqual(["unavailable", expect.stringContaining("cannot reach")]);
  });

  test("that is rate limited is retried a few times if it only reads", async () => {
    const calm = listener((_, count) =>
      count < 3 ? refusal("rate_limited", 429, { "retry-after": "0" }) : Response.json({ done: true }),
    );
    expect(await controlOf(calm.url).send(at("GET", "/x"), {})).toEqual({ done: true });
    // Also if a server, or a proxy in front of it, sends no Retry-After.
    for (const status of [502, 503, 504]) {
      const early = listener((_, count) =>
        count < 2 ? new Response("<html>", { status }) : Response.json({ done: true }),
      );
      expect(await controlOf(early.url).send(at("GET", "/x"), {})).toEqual({ done: true });
      expect(early.asked.length).toBe(2);
    }
    const busy = listener(() => refusal("unavailable", 503, { "retry-after": "0" }));
    expect((await failureOf(() => controlOf(busy.url).send(at("GET", "/x"), {}))).code).toBe("unavailable");
    expect([calm.asked.length, busy.asked.length]).toEqual([3, 4]);
    const others: readonly (readonly ["GET" | "POST", string, number, Record<string, string>])[] = [
      ["POST", "rate_limited", 429, { "retry-after": "0" }],
      ["GET", "rate_limited", 429, { "retry-after": "3600" }],
      ["GET", "quota", 429, { "retry-after": "0" }],
      ["POST", "unavailable", 503, {}],
    ];
    for (const [method, code, status, headers] of others) {
      const bus = listener(() => refusal(code, status, headers));
      const error = await failureOf(() => controlOf(bus.url).send(at(method, "/x"), {}));
      expect([error.code as string, bus.asked.length]).toEqual([code, 1]);
    }
  }, 20_000);

  test("ends when the caller aborts: before it, during it, and while it waits", async () => {
    const silent = listener(() => new Promise<Response>(() => undefined));
    const busy = listener(() => refusal("rate_limited", 429, { "retry-after": "10" }));
    const why = new Error("enough");
    const outcome = (work: Promise<unknown>) => work.catch((error: unknown) => error);
    expect(await outcome(controlOf(silent.url).info(AbortSignal.abort(why)))).toBe(why);
    for (const bus of [silent, busy]) {
      const stop = new AbortController();
      const asked = bus.asked.length;
      const ended = outcome(controlOf(bus.url).info(stop.signal));
      while (bus.asked.length === asked) await Bun.sleep(1);
      stop.abort(why);
      expect(await ended).toBe(why);
    }
    expect([silent.asked.length, busy.asked.length]).toEqual([1, 1]);
  });

  test("cannot be turned into another one by its parameters", async () => {
    const bus = listener(() => Response.json({}));
    const control = controlOf(bus.url);
    const room = newUlid();
    const uses = [
      () => control.room("../users"),
      () => control.leave(`${room}?x=`),
      () => control.kick(room, "../../rekey", { statement: { text: "x", by: "x", sig: "x" } }),
      () => control.getBlob(`${"0".repeat(63)}/`),
      () => control.bindDurable(room, "a&b"),
    ];
    for (const use of uses) expect((await failureOf(use)).code).toBe("invalid");
    expect(bus.asked).toEqual([]);
  });
});

describe("a reply", () => {
  test("with an error passes on its message, its Retry-After and its request id", async () => {
    const headers = { "retry-after": "7", "x-request-id": "abc-12" };
    const bus = listener(() => refusal("quota", 429, headers));
    const error = await failureOf(() => controlOf(bus.url).send(at("PUT", "/x"), {}));
    expect(error).toMatchObject({ code: "quota", message: "it is quota", retryAfterS: 7, requestId: "abc-12" });
  });

  test("with an unknown error is not believed, and cannot send escape sequences to a terminal", async () => {
    const refusals: readonly (readonly [Response, string])[] = [
      [new Response("<html>", { status: 502 }), "answered 502: the proxy cannot reach the server (start the server"],
      [Response.json(null, { status: 500 }), "answered 500"],
      [Response.json({ error: { a: 1 }, code: 3 }, { status: 400 }), "answered 400"],
      [Response.json({ error: "x", code: "room_forked" }, { status: 400 }), "x"],
      [Response.json({ error: "x", code: "__proto__" }, { status: 400 }), "x"],
      [Response.json({ error: "a\u001b[2J\u202eb\r\nc", code: "x" }, { status: 400 }), "a [2J b c"],
      [Response.json({ error: "y".repeat(9_999), code: "x" }, { status: 400 }), `${"y".repeat(500)}...`],
      [new Response("z".repeat(100_000), { status: 500 }), "returned more than 65536 bytes"],
      [new Response(null, { status: 302, headers: { location: "/healthz" } }), "answered 302"],
      [new Response(null, { status: 304 }), "answered 304"],
    ];
    for (const [reply, message] of refusals) {
      const bus = listener(() => reply);
      const error = await failureOf(() => controlOf(bus.url).send(at("PUT", "/x"), {}));
      expect([message, error.code, error.message]).toEqual([message, "unavailable", expect.stringContaining(message)]);
      if (message.length < 20 && !message.startsWith("answered")) expect(error.message).toBe(message);
      expect(bus.asked).toHaveLength(1);
    }
  });

  test("is validated against the API, and may have additional fields of a newer server", async () => {
    const newer = listener(() => Response.json({ ...info, more: [1] }));
    expect(await controlOf(newer.url).info()).toMatchObject(info);
    const replies = [
      "",
      "{",
      "[]",
      "null",
      "1",
      JSON.stringify({ ...info, nats: ["a", 1] }),
      '{"name":"unibus"}',
      "\xff",
    ];
    for (const reply of replies) {
      const bus = listener(() => new Response(reply));
      const error = await failureOf(() => controlOf(bus.url).info());
      expect([reply, error.code, error.message]).toEqual([
        reply,
        "unavailable",
        expect.stringContaining("returned an invalid reply"),
      ]);
    }
    expect(Check(api.Info, { ...info, more: 1 })).toBe(false);
  });

  test("is limited in size, even if it does not declare its size or is compressed", async () => {
    const large = Buffer.alloc(1_048_577, " ");
    const packed = Bun.gzipSync(Buffer.alloc(50_000_000, " "));
    const stream = () =>
      new ReadableStream({
        pull(controller) {
          controller.enqueue(large.subarray(0, 65_536));
        },
      });
    const replies: readonly (() => Response)[] = [
      () => new Response(large),
      () => new Response(stream()),
      () => new Response(packed, { headers: { "content-encoding": "gzip" } }),
    ];
    for (const reply of replies) {
      const bus = listener(reply);
      const error = await failureOf(() => controlOf(bus.url).info());
      expect([error.code, error.message]).toEqual(["unavailable", expect.stringContaining("more than 1048576 bytes")]);
    }
    const fits = listener(() => new Response(JSON.stringify(info).padEnd(1_048_576)));
    expect(await controlOf(fits.url).info()).toEqual(info);
  });

  test("of an https server names only encrypted addresses of the data plane", async () => {
    const nats = ["nats://a:1", "tls://a:2", "tls:b"];
    const ws = ["ws://a:3", "wss://a:4"];
    const bus = listener(() => Response.json({ ...info, nats, ws }));
    // "tls:b" is not a URL with a host.
    expect(await controlOf(bus.url).info()).toMatchObject({ nats: nats.slice(0, 2), ws });
    using authority = new Authority();
    const { cert, key } = authority.issue("bus");
    const tls = { cert: readFileSync(cert), key: readFileSync(key) };
    const fetch = () => Response.json({ ...info, nats, ws, public_url: "http://bus.example.org" });
    await using secure = Bun.serve({ hostname: "127.0.0.1", port: 0, tls, fetch });
    const home = new URL("../../src/client/", import.meta.url).pathname;
    const script = `
      const { ControlPlane } = await import("${home}transport/control.ts");
      const { generateIdentity } = await import("${home}crypto/identity.ts");
      const urls = ["https://127.0.0.1:${secure.port}"];
      const control = new ControlPlane({ urls, identity: await generateIdentity() });
      const info = await control.info();
      console.log(JSON.stringify({ ...info, linkUrl: control.linkUrl }));
    `;
    const env = { PATH: process.env.PATH ?? "", NODE_EXTRA_CA_CERTS: authority.file };
    const child = Bun.spawn([process.execPath, "-e", script], { env, stderr: "inherit" });
    expect(JSON.parse(await new Response(child.stdout).text())).toMatchObject({
      nats: ["tls://a:2"],
      ws: ["wss://a:4"],
      linkUrl: `https://127.0.0.1:${secure.port}`,
    });
  }, 20_000);

  test("names the base URL for links; without one it is the address in use", async () => {
    const named = { "https://bus.example.org": "https://bus.example.org/", "no URL": null, "ftp://a": null };
    for (const [public_url, expected] of Object.entries({ ...named, "https://a/b\u202e": "https://a/b%E2%80%AE" })) {
      const bus = listener(() => Response.json({ ...info, public_url }));
      const control = controlOf(bus.url);
      expect(control.linkUrl).toBe(bus.url);
      await control.info();
      expect(control.linkUrl).toBe(expected ?? bus.url);
    }
  });
});

describe("a server address", () => {
  test("that does not answer fails with the reason and the fix", async () => {
    using authority = new Authority();
    const { cert, key } = authority.issue("bus");
    const tls = { cert: readFileSync(cert), key: readFileSync(key) };
    await using strange = Bun.serve({ hostname: "127.0.0.1", port: 0, tls, fetch: () => Response.json(info) });
    const plain = listener(() => Response.json(info)).url.replace("http:", "https:");
    const cases: readonly (readonly [string, RegExp])[] = [
      [`https://127.0.0.1:${strange.port}`, /certificate of \S+ is not trusted: \w+ \(.* set NODE_EXTRA_CA_CERTS/],
      [plain, /does not speak TLS: \w+ \(if the server has no TLS, use http:/],
      ["http://127.0.0.1:9", /^cannot reach \S+: \w+ \(check the address, and that the server is running/],
      ["http://nowhere.invalid", /^cannot reach \S+: no such host: \w+ \(check the name/],
    ];
    for (const [url, said] of cases) {
      const error = await failureOf(() => controlOf(url).info());
      expect([error.code, error.message]).toEqual(["unavailable", expect.stringMatching(said)]);
    }
  });

  test.each(["ftp://a", "a", "", "http://a?b", "http://a#b", "http://user@a", "https://:pw@a", "http://"])(
    "cannot be %s",
    (url) => expect(() => busUrl(url)).toThrow("is not a server address"),
  );

  test("without encryption is reported, once each", () => {
    const warnings: string[] = [];
    const urls = ["http://bus.example.org", "http://127.0.0.1:1", "https://bus.example.org", "http://bus.example.org/"];
    const control = new ControlPlane({ urls, identity, onWarning: (message) => warnings.push(message) });
    expect(control.urls).toEqual(urls.slice(0, 3));
    expect(warnings).toEqual([expect.stringContaining("http://bus.example.org is not encrypted")]);
  });

  test("is required, and the number of addresses is limited", () => {
    const many = Array.from({ length: 17 }, (_, i) => `http://127.0.0.1:${i + 1}`);
    for (const urls of [[], many]) {
      const error: unknown = (() => {
        try {
          return controlOf(...urls);
        } catch (thrown) {
          return thrown;
        }
      })();
      expect(hasCode(error, "invalid")).toBe(true);
    }
  });
});
