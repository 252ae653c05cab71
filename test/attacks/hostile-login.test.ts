/**
 * A server that tries to make a client sign arbitrary text: its nonce is the text of a request, belongs to another bus,
 * or is missing. The client signs only the text of kind `nats`, for the host that it dialled.
 * Source: docs/protocol/identity.md, docs/protocol/logins.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { connect, isUnibusError } from "../../src/client/index.ts";
import { verifySignature } from "../../src/contracts/signature.ts";
import { natsText, requestText } from "../../src/wire/sign.ts";
import type { Server } from "../support/executable.ts";
import { HostileNats } from "../support/hostile-nats.ts";
import { HostileScene } from "../support/hostile-scene.ts";
import { HostileServer } from "../support/hostile-server.ts";
import { postUser } from "../support/peer.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";

let server: Server;
let admin: Identity;
let hostile: HostileNats;
let bob: Identity;

beforeAll(async () => {
  ({ server, admin } = await HostileScene.server());
  hostile = await HostileNats.start(server);
  bob = await postUser(server, admin, "bob");
});
afterAll(async () => {
  await hostile[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

const request = requestText({
  host: "bus.example",
  method: "POST",
  target: "/users/x/revoke",
  ts: "1800000000",
  nonce: Buffer.alloc(16, 1).toString("base64"),
  bodyHash: "0".repeat(64),
});

/** Dials a server that sends this INFO. Returns the client's error, or null when the login succeeds. */
async function dialWith(info: HostileNats["info"]): Promise<string | null> {
  hostile.info = info;
  const before = hostile.logins.length;
  try {
    await using _bus = await connect({ url: hostile.url, identity: bob, state: "memory" });
    return null;
  } catch (error) {
    expect(isUnibusError(error)).toBe(true);
    return `${(error as { code: string }).code}, ${hostile.logins.length - before} logins`;
  } finally {
    hostile.info = (honest) => honest;
  }
}

describe("a nonce", () => {
  const odd: Readonly<Record<string, unknown>> = {
    "the text of a request": request,
    "the text of a request on one line": request.replaceAll("\n", " "),
    "a text of another kind": "unibus-keys-v1\n00\n11",
    "with a line feed before it": "\nabcdefghijklmnop",
    "with a line feed after it": "abcdefghijklmnop\n",
    empty: "",
    "too short": "abcdefghijklmn",
    "too long": "a".repeat(65),
    "with characters outside the alphabet": "abcdefghijklmn+=",
    "that is not text": { nonce: "abcdefghijklmnop" },
    "a number": 123_456_789_012_345,
  };
  for (const [what, nonce] of Object.entries(odd)) {
    test(`${what} is not signed`, async () => {
      expect(await dialWith((info) => ({ ...info, nonce }))).toMatch(/^unauthenticated, 0 logins$/);
    });
  }

  test("of an invalid format is not answered with a login", async () => {
    expect(await dialWith(({ nonce: _, ...info }) => info)).toMatch(/^(unauthenticated|unavailable), 0 logins$/);
  });

  test("of another server is signed for the dialled host only", async () => {
    const nonce = "anotherbussnonce";
    expect(await dialWith((info) => ({ ...info, nonce }))).toMatch(/^unauthenticated, 1 logins$/);
    const { sig, nkey } = hostile.logins.at(-1) as { sig: string; nkey: string };
    expect(nkey).toBe(bob.nkey);
    const bytes = new Uint8Array(Buffer.from(sig, "base64url"));
    const holds = (text: string) => verifySignature(bob.signPubHex, text, bytes);
    const { port } = hostile.proxy;
    expect(await holds(natsText(`127.0.0.1:${port}`, nonce))).toBe(true);
    const others = ["127.0.0.1", `127.0.0.1:${port + 1}`, `localhost:${port}`, "bus.example:4711"];
    for (const text of [nonce, ...others.map((host) => natsText(host, nonce)), request]) {
      expect(await holds(text)).toBe(false);
    }
  });
});

describe("a server that forwards a login to another server, byte by byte", () => {
  const through = async (address: string): Promise<string> => {
    await using other = await HostileServer.start(server.ready.http);
    await using relay = await TcpProxy.start(server.ready.nats, undefined, address);
    other.alter("/info", (info: object) => ({ ...info, nats: [`nats://${address}:${relay.port}`] }));
    try {
      await using bus = await connect({ url: other.url, identity: bob, state: "memory" });
      return bus.identity.endpoint;
    } catch (error) {
      return isUnibusError(error) ? error.code : String(error);
    }
  };

  test("is not admitted: the login names its own address and port", async () => {
    for (const address of ["127.0.0.1", "127.0.0.2"]) expect(await through(address)).toBe("unauthenticated");
  });
});

describe("the rest of the server's INFO", () => {
  test("is used only as far as needed: other servers or missing headers do not mislead the client", async () => {
    expect(await dialWith((info) => ({ ...info, connect_urls: ["127.0.0.1:1"], ldm: true }))).toBeNull();
    const logins = hostile.logins.length;
    expect(await dialWith((info) => info)).toBeNull();
    expect(hostile.logins.length).toBe(logins + 1);
  });

  test("makes a send fail with our own error, if the server accepts no headers or no payload", async () => {
    await using ana = await connect({ url: server.ready.http, identity: admin, state: "memory" });
    const room = await ana.createRoom(`room.info-${process.pid}`, "matrix");
    await room.membership.add(bob.endpoint);
    for (const lie of [{ headers: false }, { max_payload: 10 }]) {
      hostile.info = (info) => ({ ...info, ...lie });
      await using bus = await connect({ url: hostile.url, identity: bob, state: "memory" });
      const theirs = await bus.room(room.id);
      await expect(theirs.send("x", { timeoutMs: 10_000 })).rejects.toMatchObject({ code: "unavailable" });
      hostile.info = (info) => info;
    }
  });
});
