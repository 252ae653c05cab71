/**
 * Attacks with request bodies: 400 MB sent before authentication, and bodies of strangers that a server would hold in
 * memory. The server must refuse a stranger by the request head alone, cut a user's body at the ceiling of 1 MiB, and
 * hold no memory for bodies that it refuses. Source: docs/protocol/requests.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { signatureHeaders } from "../../src/wire/sign.ts";
import { Server, until } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { createBody, freshSubject, newRoom, policy, send, signedHeaders } from "../support/peer.ts";

const mebibyte = 1_048_576;
const hugeBytes = 400 * mebibyte;
/** How much the server's memory may grow while it refuses: socket buffers and what the runtime allocates in reserve. */
const growthBytesMax = 30 * mebibyte;
/** How many bytes the two ends of a connection may buffer before the sender blocks. */
const takenBytesMax = 64 * mebibyte;

let server: Server;
let people: Cast<"ana">;
let stranger: Identity;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=100000"] });
  people = await castOf(server, "ana");
  stranger = await generateIdentity();
});
afterAll(() => server[Symbol.asyncDispose]());

const statusKiB = (name: string) =>
  Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))?.[1]);

/** Returns the peak growth of the server's memory while `work` runs, in bytes. */
async function growth(work: () => Promise<void>): Promise<number> {
  // Resets the peak.
  writeFileSync(`/proc/${server.pid}/clear_refs`, "5");
  const before = statusKiB("VmRSS");
  await work();
  return (statusKiB("VmHWM") - before) * 1024;
}

/**
 * Makes one HTTP exchange in raw bytes: sends the head, then as much of the body as the server accepts.
 * A client that still sends when the server hangs up may lose the reply; a client that stops and reads gets it.
 */
async function pour(
  head: readonly string[],
  body: { bytes: number; chunked: boolean },
): Promise<{ reply: string; sent: number }> {
  const { hostname, port } = new URL(server.ready.http);
  const socket: Socket = connect(Number(port), hostname);
  const ended = Promise.withResolvers<void>();
  let reply = "";
  socket.on("data", (bytes) => {
    reply += bytes.toString();
  });
  socket.on("error", () => undefined);
  socket.on("close", () => ended.resolve());
  const part = Buffer.alloc(mebibyte, "x");
  const framed = body.chunked ? Buffer.concat([Buffer.from("100000\r\n"), part, Buffer.from("\r\n")]) : part;
  socket.write(`${head.join("\r\n")}\r\n\r\n`);
  let sent = 0;
  while (sent < body.bytes && !socket.destroyed) {
    sent += mebibyte;
    if (!socket.write(framed))
      await Promise.race([new Promise((resolve) => socket.once("drain", resolve)), ended.promise]);
  }
  await ended.promise;
  return { reply, sent };
}

async function poured(head: () => string[], chunked: boolean) {
  let outcome = { reply: "", sent: 0 };
  const grown = await growth(async () => {
    outcome = await pour(head(), { bytes: hugeBytes, chunked });
  });
  return { outcome, grown };
}

/**
 * Expects a refusal by the head alone, with a reply that closes the connection; a client that sends its body anyway is
 * not read.
 */
async function expectRefused(status: number, { head, chunked }: { head: () => string[]; chunked: boolean }) {
  const { reply } = await pour(head(), { bytes: 0, chunked });
  expect(reply).toStartWith(`HTTP/1.1 ${status} `);
  expect(reply.toLowerCase()).toContain("connection: close");
  const { outcome, grown } = await poured(head, chunked);
  expect(["", `HTTP/1.1 ${status}`]).toContain(outcome.reply.slice(0, 12));
  expect(outcome.sent).toBeLessThan(takenBytesMax);
  expect(grown).toBeLessThan(growthBytesMax);
}

const headOf = (target: string, more: readonly string[]) => [
  `POST ${target} HTTP/1.1`,
  `Host: ${new URL(server.ready.http).host}`,
  "Content-Type: application/json",
  ...more,
];
const lines = (headers: Record<string, string>) => Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
const signedBy = (identity: Identity, target = "/rooms") =>
  lines(signedHeaders(identity, { url: server.ready.http, method: "POST", target }));

const length = (bytes: number) => `Content-Length: ${bytes}`;
const chunks = "Transfer-Encoding: chunked";

describe("a body of 400 MB", () => {
  const senders: Readonly<Record<string, () => string[]>> = {
    "from a client without headers": () => [],
    "from a signing stranger": () => signedBy(stranger),
    "with another user's signature": () => [
      ...signedBy(stranger).filter((line) => !line.startsWith(signatureHeaders.pub)),
      `${signatureHeaders.pub}: ${people.ana.signPubHex}`,
    ],
  };
  for (const [who, headers] of Object.entries(senders)) {
    for (const target of ["/rooms", "/users", "/rooms/01ARZ3NDEKTSV4RRFFQ69G5FAV/members"]) {
      test(`${who}, declared, to ${target}: refused by its headers alone`, async () => {
        await expectRefused(413, { head: () => headOf(target, [...headers(), length(hugeBytes)]), chunked: false });
      });
    }

    test(`${who}, in chunks: refused before the body is read`, async () => {
      await expectRefused(401, { head: () => headOf("/rooms", [...headers(), chunks]), chunked: true });
    });
  }

  test("of a user, in chunks: cut off at the limit", async () => {
    const { outcome, grown } = await poured(() => headOf("/rooms", [...signedBy(people.ana), chunks]), true);
    expect(["", "HTTP/1.1 413"]).toContain(outcome.reply.slice(0, 12));
    expect(outcome.sent).toBeLessThan(takenBytesMax);
    expect(grown).toBeLessThan(growthBytesMax);
  });
});

test("100 strangers who keep a body of 1 MiB open hold no memory, and users are still served", async () => {
  const { hostname, port } = new URL(server.ready.http);
  const sockets: Socket[] = [];
  const replies: string[] = [];
  const grown = await growth(async () => {
    for (let i = 0; i < 100; i++) {
      const socket = connect(Number(port), hostname);
      sockets.push(socket);
      socket.on("error", () => undefined);
      let reply = "";
      socket.on("data", (bytes) => {
        reply += bytes.toString();
      });
      socket.on("close", () => replies.push(reply.slice(0, 12)));
      socket.write(`${headOf("/rooms", [length(mebibyte)]).join("\r\n")}\r\n\r\n`);
      socket.write(Buffer.alloc(mebibyte / 2, "x"));
    }
    await until("all strangers are refused", () => replies.length === 100);
    const body = JSON.stringify(createBody(newRoom(people.ana, freshSubject(), policy())));
    const headers = signedHeaders(people.ana, { url: server.ready.http, method: "POST", target: "/rooms", body });
    expect((await send(`${server.ready.http}/rooms`, { method: "POST", headers, body })).status).toBe(201);
  });
  for (const reply of replies) expect(["", "HTTP/1.1 401"]).toContain(reply);
  for (const socket of sockets) socket.destroy();
  expect(grown).toBeLessThan(growthBytesMax);
});

test("a user's body of exactly 1 MiB is read, one byte more is not", async () => {
  const room = JSON.stringify(createBody(newRoom(people.ana, freshSubject(), policy())));
  for (const [bytes, status] of [
    [mebibyte, 201],
    [mebibyte + 1, 413],
  ] as const) {
    const body = room.padEnd(bytes, " ");
    const headers = signedHeaders(people.ana, { url: server.ready.http, method: "POST", target: "/rooms", body });
    expect((await send(`${server.ready.http}/rooms`, { method: "POST", headers, body })).status).toBe(status);
  }
});
