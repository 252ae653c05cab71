/**
 * Blobs over signed HTTP, against the executable: size limits, quotas, the signed body hash, and interrupted uploads,
 * which must leave no partial file and no error in the log. Source: docs/protocol/requests.md, docs/reference/http.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { signatureHeaders } from "../../src/wire/sign.ts";
import { Server, until } from "../support/executable.ts";
import { castOf } from "../support/inside.ts";
import { type Reply, send, signedHeaders } from "../support/peer.ts";

const bytesMax = 16 * 1_048_576;
const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

let server: Server;
let ana: Identity;
let bo: Identity;
beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=10000", "--set", `blobs.bytes_per_user=${4 * bytesMax}`] });
  ({ ana, bo } = await castOf(server, "ana", "bo"));
});
afterAll(() => server[Symbol.asyncDispose]());

let seeds = 0;
/** Bytes that no test has sent before. */
function fresh(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size).fill(++seeds);
  bytes.set(crypto.getRandomValues(new Uint8Array(Math.min(size, 32))));
  return bytes;
}

/** A body of unknown length, so that it is sent in chunks. */
function chunked(bytes: Uint8Array): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.byteLength) return controller.close();
      controller.enqueue(bytes.subarray(at, at + 1_048_576));
      at += 1_048_576;
    },
  });
}

const headersFor = (user: Identity, body: Uint8Array) =>
  signedHeaders(user, { url: server.ready.http, method: "POST", target: "/blobs", body });

const post = (user: Identity, bytes: Uint8Array<ArrayBuffer>): Promise<Reply> =>
  send(`${server.ready.http}/blobs`, { method: "POST", headers: headersFor(user, bytes), body: bytes });

const get = (user: Identity, target: string): Promise<Response> =>
  fetch(`${server.ready.http}${target}`, {
    headers: signedHeaders(user, { url: server.ready.http, method: "GET", target }),
  });

/** Every file that holds a blob or a part of one. */
function files(): string[] {
  const folder = server.folder.file("data", "blobs");
  if (!existsSync(folder)) return [];
  const found = readdirSync(folder, { recursive: true, withFileTypes: true });
  return found.filter((entry) => entry.isFile()).map(({ name }) => name);
}

describe("a blob", () => {
  test("of exactly 16 MiB is accepted, with Content-Length or in chunks, and readable by any user with its hash", async () => {
    for (const send16 of ["declared", "chunked"] as const) {
      const bytes = fresh(bytesMax);
      const body = send16 === "declared" ? bytes : chunked(bytes);
      const headers = headersFor(ana, bytes);
      const reply = await send(`${server.ready.http}/blobs`, { method: "POST", headers, body });
      expect([reply.status, reply.json]).toEqual([201, { hash: hashOf(bytes) }]);
      const found = await get(bo, `/blobs/${hashOf(bytes)}`);
      expect([found.status, found.headers.get("content-length")]).toEqual([200, String(bytesMax)]);
      expect(found.headers.get("content-disposition")).toBe("attachment");
      expect(found.headers.get("x-content-type-options")).toBe("nosniff");
      expect(hashOf(await found.bytes())).toBe(hashOf(bytes));
    }
  }, 20_000);

  test("one byte larger is refused, with Content-Length or in chunks, and leaves nothing", async () => {
    const before = files().length;
    for (const body of [(bytes: Uint8Array<ArrayBuffer>) => bytes, chunked]) {
      const bytes = fresh(bytesMax + 1);
      const headers = headersFor(bo, bytes);
      const reply = await send(`${server.ready.http}/blobs`, { method: "POST", headers, body: body(bytes) });
      expect([reply.status, reply.json.code]).toEqual([413, "too_large"]);
      expect((await get(bo, `/blobs/${hashOf(bytes)}`)).status).toBe(404);
    }
    await until("nothing is left", () => files().length === before);
  }, 20_000);

  test("that differs from the signed one is refused, leaves nothing and is not charged", async () => {
    const before = files().length;
    const [signed, sent] = [fresh(3_000_000), fresh(3_000_000)];
    for (let i = 0; i < 3; i++) {
      const headers = headersFor(ana, signed);
      const reply = await send(`${server.ready.http}/blobs`, { method: "POST", headers, body: sent });
      expect([reply.status, reply.json.code]).toEqual([400, "invalid"]);
    }
    for (const bytes of [signed, sent]) expect((await get(ana, `/blobs/${hashOf(bytes)}`)).status).toBe(404);
    expect(files()).toHaveLength(before);
  });

  test("whose upload is aborted leaves nothing, and logs no server error", async () => {
    const before = files().length;
    const bytes = fresh(8_000_000);
    const stop = new AbortController();
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        controller.enqueue(bytes.subarray(0, 2_000_000));
        await until("part of it is on the disk", () => files().length > before);
        stop.abort();
      },
    });
    const request = { method: "POST", headers: headersFor(ana, bytes), body, signal: stop.signal };
    await send(`${server.ready.http}/blobs`, request).catch(() => undefined);
    await until("nothing is left", () => files().length === before);
  });

  test("that exists already is answered with 200; concurrent uploads of one blob store it once", async () => {
    const bytes = fresh(100_000);
    const replies = await Promise.all(Array.from({ length: 8 }, (_, i) => post(i % 2 === 0 ? ana : bo, bytes)));
    expect(new Set(replies.map(({ json }) => json.hash))).toEqual(new Set([hashOf(bytes)]));
    expect(replies.every(({ status }) => status === 200 || status === 201)).toBe(true);
    expect((await post(bo, bytes)).status).toBe(200);
    // The blob, and a claim of each uploader.
    expect(files().filter((name) => name === hashOf(bytes))).toHaveLength(3);
  });

  test("is available to users only, and by its hash only", async () => {
    const bytes = fresh(10);
    expect((await post(ana, bytes)).status).toBe(201);
    const target = `/blobs/${hashOf(bytes)}`;
    expect((await send(`${server.ready.http}${target}`)).status).toBe(401);
    const stranger = await generateIdentity();
    expect((await get(stranger, target)).status).toBe(401);
    expect((await post(stranger, bytes)).status).toBe(401);
    for (const wrong of [target.toUpperCase().replace("BLOBS", "blobs"), `${target}0`, "/blobs/x", "/blobs/.."]) {
      expect([wrong, [400, 404].includes((await get(ana, wrong)).status)]).toEqual([wrong, true]);
    }
    expect((await get(ana, `/blobs/${"0".repeat(64)}`)).status).toBe(404);
  });
});

test("the quota error has a fix, and a user at the quota can still read", async () => {
  const { cy } = await castOf(server, "cy");
  const kept = fresh(bytesMax);
  const replies = [await post(cy, kept)];
  for (let i = 0; i < 3; i++) replies.push(await post(cy, fresh(bytesMax)));
  expect(replies.map(({ status }) => status)).toEqual([201, 201, 201, 201]);
  const over = await post(cy, fresh(1));
  expect([over.status, over.json]).toEqual([
    429,
    { error: `blob quota exceeded: ${4 * bytesMax} bytes for each user (ask an admin for more)`, code: "quota" },
  ]);
  expect((await get(cy, `/blobs/${hashOf(kept)}`)).status).toBe(200);
}, 20_000);

test("concurrent uploads by one user stay within the quota", async () => {
  const { dee } = await castOf(server, "dee");
  const replies = await Promise.all(Array.from({ length: 12 }, () => post(dee, fresh(bytesMax / 2))));
  const stored = replies.filter(({ status }) => status === 201).length;
  expect(stored).toBeGreaterThan(0);
  expect(stored).toBeLessThanOrEqual(8);
  expect(replies.filter(({ json }) => json.code === "quota")).toHaveLength(12 - stored);
}, 30_000);

test("a promised hash in the wrong format is refused before any byte is read", async () => {
  const bytes = fresh(1_000);
  const headers = { ...headersFor(ana, bytes), [signatureHeaders.body]: hashOf(bytes).toUpperCase() };
  const reply = await send(`${server.ready.http}/blobs`, { method: "POST", headers, body: bytes });
  expect([reply.status, reply.headers.get("connection")]).toEqual([401, "close"]);
});

test("client errors are not logged as server errors", async () => {
  await server.end();
  const { stderr } = await server.output();
  expect(stderr).not.toMatch(/"level":(50|60)/);
});
