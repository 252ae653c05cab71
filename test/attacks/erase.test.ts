/**
 * Erasing one stored message: who may, of which room, how often, and that its bytes leave the disk at once.
 * Source: docs/protocol/history.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { NatsConnection } from "nats";
import { ulid } from "ulid";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { connect, type Message } from "../../src/client/index.ts";
import { pagesAfter } from "../../src/client/rooms/history-pages.ts";
import { parseDenials } from "../../src/contracts/denials.ts";
import { encodeFrame } from "../../src/wire/frame.ts";
import { filesWith } from "../support/files-with.ts";
import { bootInProcess, type InProcess, insertUser } from "../support/in-process.ts";
import { inside, jetStream } from "../support/inside.ts";
import {
  addMembers,
  at,
  call,
  createRoom,
  dial,
  freshSubject,
  history,
  type OwnRoom,
  policy,
  type Reply,
  send,
  signedHeaders,
} from "../support/peer.ts";

let running: InProcess;
/** How far the server's clock is ahead. */
let aheadS = 0;
let people: { ana: Identity; bob: Identity; eve: Identity; tom: Identity };
let room: OwnRoom;
const open: NatsConnection[] = [];

beforeAll(async () => {
  running = await bootInProcess({ now: () => Date.now() + 1_000 * aheadS });
  const [ana, bob, eve, tom] = await Promise.all(["ana", "bob", "eve", "tom"].map((name) => insertUser(running, name)));
  people = { ana, bob, eve, tom } as typeof people;
  room = await roomOf(people.ana, people.bob, people.tom);
});
afterAll(async () => {
  await Promise.all(open.map((connection) => connection.close()));
  await running[Symbol.asyncDispose]();
});

async function roomOf(owner: Identity, ...members: Identity[]): Promise<OwnRoom> {
  const made = await createRoom(running.server, owner, policy("persist"));
  return members.length === 0 ? made : addMembers(running.server, made, ...members);
}
async function connected(identity: Identity): Promise<NatsConnection> {
  const connection = await dial(running.server, identity);
  open.push(connection);
  return connection;
}
/** Publishes bytes and returns their sequence. */
async function publish(as: Identity, to: OwnRoom, bytes: Uint8Array | string): Promise<number> {
  const connection = await connected(as);
  const ack = (await connection.request(to.state.subject, bytes, { timeout: 10_000 })).json<{ seq: number }>();
  return ack.seq;
}
const frameOf = (from: Identity, to: OwnRoom, text: string) =>
  encodeFrame({
    ...{ t: 0, s: to.state.subject, from: from.endpoint, id: ulid(), e: 1, p: Buffer.from(text).toString("base64") },
    ...{ n: undefined, b: undefined, sig: undefined, thr: undefined, re: undefined },
  });
const erase = (as: Identity | null, from: OwnRoom, seq: number | string): Promise<Reply> => {
  const [url, method, target] = [running.server.ready.http, "DELETE", at(from, `/messages/${seq}`)];
  return send(`${url}${target}`, {
    method,
    headers: as === null ? {} : signedHeaders(as, { url, method, target, skewS: aheadS }),
  });
};
const codeOf = ({ status, json }: Reply) => [status, json.code];
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

describe("a message is erased by", () => {
  test("its sender: the answer is its hash, and its bytes are in no file of the data directory", async () => {
    const [marker, other] = [randomBytes(24).toString("hex"), randomBytes(24).toString("hex")];
    const frame = frameOf(people.bob, room, marker);
    const files = () => filesWith(running.server.data, Buffer.from(marker).toString("base64").slice(0, 40));
    const kept = await publish(people.bob, room, frameOf(people.bob, room, other));
    const seq = await publish(people.bob, room, frame);
    await publish(people.bob, room, frameOf(people.bob, room, other));
    expect(files()).not.toEqual([]);
    const reply = await erase(people.bob, room, seq);
    expect([reply.status, reply.json]).toEqual([200, { sha256: sha256(frame) }]);
    expect(files()).toEqual([]);
    const page = (await call(running.server.ready.http, people.ana, "GET", at(room, "/history"))).json;
    expect(page.seqs).toEqual([kept, seq + 1]);
    expect(await history(running.server, people.tom, room)).toHaveLength(2);
  });

  test("an owner, also junk that no member could have sent as a frame, and the newest message", async () => {
    for (const bytes of ["junk", "", randomBytes(1_000_000), frameOf(people.bob, room, "of bob")]) {
      const seq = await publish(people.bob, room, bytes);
      const reply = await erase(people.ana, room, seq);
      expect([reply.status, reply.json.sha256]).toEqual([200, sha256(Buffer.from(bytes))]);
    }
  });

  test("is noted as a denial, by the hash of its frame", async () => {
    const frame = frameOf(people.bob, room, "to be noted");
    await erase(people.bob, room, await publish(people.bob, room, frame));
    const { denials } = parseDenials(readFileSync(join(running.server.data, "denials"), "utf8"));
    expect(denials.at(-1)).toMatchObject({ kind: "erased", key: `${room.state.roomId}/${sha256(frame)}` });
  });
});

describe("a message is not erased", () => {
  test("by another member, also if that one copies the frame or names itself in junk", async () => {
    const frame = frameOf(people.bob, room, "of bob, who keeps it");
    const seq = await publish(people.bob, room, frame);
    const copy = await publish(people.tom, room, frame);
    for (const one of [seq, copy]) expect(codeOf(await erase(people.tom, room, one))).toEqual([403, "forbidden"]);
    const junk = await publish(people.tom, room, `{"from":"${people.tom.endpoint}"}`);
    expect(codeOf(await erase(people.tom, room, junk))).toEqual([403, "forbidden"]);
    const frames = (await history(running.server, people.ana, room)).map((one) => one.toString());
    expect(frames.filter((one) => one === Buffer.from(frame).toString())).toHaveLength(2);
  });

  test("by someone outside the room, without a signature, or by a member who was kicked or left", async () => {
    const seq = await publish(people.bob, room, frameOf(people.bob, room, "inside"));
    expect(codeOf(await erase(people.eve, room, seq))).toEqual([403, "forbidden"]);
    expect(codeOf(await erase(null, room, seq))).toEqual([401, "unauthenticated"]);
    const left = await roomOf(people.ana, people.bob);
    const own = await publish(people.bob, left, frameOf(people.bob, left, "before leaving"));
    await call(running.server.ready.http, people.bob, "DELETE", at(left, `/members/${people.bob.endpoint}`));
    expect(codeOf(await erase(people.bob, left, own))).toEqual([403, "forbidden"]);
    expect(await history(running.server, people.ana, left)).toHaveLength(1);
  });

  test("of another room: its sequence means this room's message or none", async () => {
    const [mine, theirs] = [await roomOf(people.eve), await roomOf(people.ana, people.bob)];
    for (let n = 0; n < 3; n++) await publish(people.bob, theirs, frameOf(people.bob, theirs, `theirs ${n}`));
    const seq = await publish(people.eve, mine, frameOf(people.eve, mine, "mine"));
    expect(seq).toBe(1);
    expect(codeOf(await erase(people.eve, mine, 3))).toEqual([404, "not_found"]);
    expect((await erase(people.eve, mine, 1)).status).toBe(200);
    expect(await history(running.server, people.ana, theirs)).toHaveLength(3);
  });

  test("of another subject, even if it is in the room's own stream and names the caller", async () => {
    const shared = await roomOf(people.ana, people.bob);
    const bus = await inside(running.server, "BUS");
    open.push(bus);
    const name = `UNIBUS_${shared.state.roomId}`;
    const { config } = await jetStream<{ config: { subjects: string[] } }>(bus, `STREAM.INFO.${name}`);
    const subjects = [...config.subjects, "room.of-another-room"];
    expect((await jetStream(bus, `STREAM.UPDATE.${name}`, { ...config, subjects })).error).toBeUndefined();
    const foreign = frameOf(people.bob, shared, "of another room");
    const { seq } = (await bus.request("room.of-another-room", foreign)).json<{ seq: number }>();
    for (const as of [people.bob, people.ana]) {
      expect(codeOf(await erase(as, shared, seq))).toEqual([404, "not_found"]);
    }
    const kept = await jetStream<{ message?: { seq: number } }>(bus, `STREAM.MSG.GET.${name}`, { seq });
    expect(kept.message?.seq).toBe(seq);
  });

  test("twice, before it exists, in a room that stores nothing, or that was deleted", async () => {
    const seq = await publish(people.bob, room, frameOf(people.bob, room, "once"));
    expect((await erase(people.bob, room, seq)).status).toBe(200);
    for (const one of [seq, seq + 1, 1_000_000, 999_999_999_999_999]) {
      expect(codeOf(await erase(people.ana, room, one))).toEqual([404, "not_found"]);
    }
    const quiet = await createRoom(running.server, people.ana, policy());
    expect(codeOf(await erase(people.ana, quiet, 1))).toEqual([404, "not_found"]);
    const gone = await roomOf(people.ana);
    await publish(people.ana, gone, frameOf(people.ana, gone, "last words"));
    await call(running.server.ready.http, people.ana, "DELETE", at(gone));
    expect(codeOf(await erase(people.ana, gone, 1))).toEqual([410, "gone"]);
    for (const one of ["0", "-1", "1.5", "x", "01", "1000000000000000", "9007199254740993"]) {
      expect(codeOf(await erase(people.ana, room, one))).toEqual([400, "invalid"]);
    }
  });

  test("of two requests at once more than once: one gets the hash, the other 404", async () => {
    const seq = await publish(people.bob, room, frameOf(people.bob, room, "raced"));
    const replies = await Promise.all([erase(people.bob, room, seq), erase(people.ana, room, seq)]);
    expect(replies.map(({ status }) => status).sort()).toEqual([200, 404]);
  });

  test("in a room of an earlier version, whose stream refuses deletions: 409, and reading works", async () => {
    const old = await roomOf(people.ana, people.bob);
    const bus = await inside(running.server, "BUS");
    open.push(bus);
    const name = `UNIBUS_${old.state.roomId}`;
    const { config } = await jetStream<{ config: Record<string, unknown> }>(bus, `STREAM.INFO.${name}`);
    expect(config.deny_delete).toBe(false);
    const changed = await jetStream(bus, `STREAM.UPDATE.${name}`, { ...config, deny_delete: true });
    expect(changed.error).toBeUndefined();
    const seq = await publish(people.bob, old, frameOf(people.bob, old, "stays"));
    for (const as of [people.bob, people.ana]) {
      expect(codeOf(await erase(as, old, seq))).toEqual([409, "conflict"]);
    }
    expect(codeOf(await erase(people.bob, old, seq + 1))).toEqual([404, "not_found"]);
    expect(await history(running.server, people.ana, old)).toHaveLength(1);
    expect(await history(running.server, people.ana, old, "?after=0")).toHaveLength(1);
  });
});

test("gaps from erased messages end no reader: the client pages by what the server says", async () => {
  await using bus = await connect({ url: running.server.ready.http, identity: people.eve, state: "memory" });
  const mine = await bus.createRoom(freshSubject(), "matrix");
  const sent = Array.from({ length: 60 }, (_, n) => `m${n + 1}`);
  for (const text of sent) await mine.send(text);
  const gone = (seq: number) => (seq > 3 && seq < 40) || seq % 7 === 0 || seq > 58;
  const seqs = sent.map((_, index) => index + 1).filter(gone);
  const inner = await inside(running.server, "BUS");
  open.push(inner);
  for (const seq of seqs) await jetStream(inner, `STREAM.MSG.DELETE.UNIBUS_${mine.id}`, { seq });
  const left = sent.filter((_, index) => !gone(index + 1));
  const [backwards, forwards]: [string[][], string[][]] = [[], []];
  for (let before: number | undefined; ; ) {
    const page = await mine.history(before === undefined ? { limit: 4 } : { limit: 4, before });
    backwards.unshift(page.messages.map(({ text }) => text));
    if (!page.more) break;
    before = page.firstSeq;
  }
  for (let after = 0; ; ) {
    const page = await mine.history({ limit: 4, after });
    forwards.push(page.messages.map(({ text }) => text));
    if (!page.more) break;
    after = page.lastSeq;
  }
  expect(backwards.flat()).toEqual(left);
  expect(forwards.flat()).toEqual(left);
  expect((await mine.history({ since: new Date(0) })).messages.map(({ text }) => text)).toEqual(left);
  await expect(mine.history({ before: 5, after: 1 })).rejects.toMatchObject({ code: "invalid" });
  const read: number[] = [];
  for await (const { frames, upTo } of pagesAfter(bus.control, mine.id, 2)) read.push(frames.length, upTo);
  expect(read).toEqual([left.length - 2, 58]);
  const all = mine.messages({ from: "start" });
  const texts: string[] = [];
  for await (const { text } of all) if (texts.push(text) === left.length) break;
  expect(texts).toEqual(left);
});

test("the client notifies the members first, with the frame's hash, then erases the frame and the blobs of its file", async () => {
  const url = running.server.ready.http;
  await using eves = await connect({ url, identity: people.eve, state: "memory" });
  await using bobs = await connect({ url, identity: people.bob, state: "memory" });
  const mine = await eves.createRoom(freshSubject(), "matrix");
  await mine.membership.add(people.bob.endpoint);
  const theirs = await bobs.room(mine.id);
  await theirs.send("of bob");
  const [file, shared] = [await mine.putBlob(randomBytes(5_000)), await mine.putBlob(randomBytes(5_000))];
  await mine.send("caption", { blob: file, kind: "file" });
  for (const text of ["first", "second"]) await mine.send(text, { blob: shared, kind: "file" });
  const raw = (await eves.control.history(mine.id, {})).messages.map((text) => Buffer.from(text, "base64"));
  const [ofBob, ofEve, first, second] = (await mine.history()).messages as [Message, Message, Message, Message];

  await expect(theirs.delete(ofEve)).rejects.toMatchObject({ code: "forbidden" });
  await expect(mine.delete(undefined as never)).rejects.toMatchObject({ code: "invalid" });
  expect(await mine.delete(ofEve)).toMatchObject({ erased: true });
  await expect(theirs.getBlob(ofEve)).rejects.toMatchObject({ code: "not_found" });
  expect(await mine.delete(ofBob)).toMatchObject({ erased: true });
  const left = (await theirs.history()).messages;
  expect(left.map(({ kind, from }) => [kind, from === people.eve.endpoint])).toEqual([
    ["file", true],
    ["file", true],
    ["delete", true],
    ["delete", true],
  ]);
  expect(left.slice(2).map(({ replyTo, data }) => [replyTo, Buffer.from(data).toString("hex")])).toEqual([
    [ofEve.id, sha256(raw[1] as Buffer)],
    [ofBob.id, sha256(raw[0] as Buffer)],
  ]);

  // Another message names the same blob.
  await mine.delete(first);
  expect(await theirs.getBlob(second)).toHaveLength(5_000);
  await mine.delete(second);
  await expect(theirs.getBlob(second)).rejects.toMatchObject({ code: "not_found" });
  // Gone already: the members are asked again, and nothing fails.
  expect(await mine.delete(ofEve)).toMatchObject({ erased: false });
});

test("a user may erase 60 messages in a minute; refused requests and other users do not count", async () => {
  const busy = await roomOf(people.ana, people.bob);
  const many = await connected(people.bob);
  const last = await (async () => {
    for (let n = 0; n < 70; n++) many.publish(busy.state.subject, frameOf(people.bob, busy, `${n}`));
    return (await many.request(busy.state.subject, "end", { timeout: 10_000 })).json<{ seq: number }>().seq;
  })();
  expect(last).toBe(71);
  aheadS += 61;
  const replies: Reply[] = [];
  for (let seq = 1; seq <= 65; seq++) replies.push(await erase(people.bob, busy, seq));
  expect(replies.filter(({ status }) => status === 200)).toHaveLength(60);
  expect(replies.slice(60).map(codeOf)).toEqual(Array(5).fill([429, "rate_limited"]));
  const [refused] = replies.slice(60);
  expect(Number(refused?.headers.get("retry-after"))).toBeGreaterThan(0);
  expect((await erase(people.ana, busy, 61)).status).toBe(200);
  aheadS += 61;
  expect((await erase(people.bob, busy, 62)).status).toBe(200);
});
