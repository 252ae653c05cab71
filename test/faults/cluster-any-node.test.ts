/**
 * Three nodes, each started by one command: what is done at one node is visible at all of them. A client that knows all
 * three keeps working while each is restarted or killed in turn: an acknowledged message is stored once and delivered
 * once, in order, and every request that the client makes takes effect once. Source: docs/protocol/durables.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { type Bus, connect } from "../../src/client/index.ts";
import { streamName } from "../../src/wire/names.ts";
import { invite, register } from "../support/accounts.ts";
import { unibus, until } from "../support/executable.ts";
import { filesWith } from "../support/files-with.ts";
import { castOf } from "../support/inside.ts";
import {
  addMembers,
  at,
  call,
  createRoom,
  dial,
  freshSubject,
  history,
  kick,
  policy,
  send,
  signedHeaders,
} from "../support/peer.ts";
import { isSoak } from "../support/soak.ts";
import { Nodes, nodesCount } from "./chaos/nodes.ts";

/** How many messages are acknowledged before a node dies, while it is down, and after it is back. */
const each = 10;

const all = Array.from({ length: nodesCount }, (_, index) => index);
const other = (node: number, by = 1) => (node + by) % nodesCount;

let nodes: Nodes;
let admin: Identity;
let ana: Identity;
let bob: Identity;

beforeAll(async () => {
  nodes = await Nodes.start();
  ({ admin, ana, bob } = await castOf(nodes.at(0), "ana", "bob"));
}, 60_000);
afterAll(() => nodes[Symbol.asyncDispose]());

const statusesOf = (caller: Identity, target: string): Promise<number[]> =>
  Promise.all(all.map(async (node) => (await call(nodes.url(node), caller, "GET", target)).status));

describe("users and invites", () => {
  test.each(all)("a user that is added on the host of node %i can sign and log in on all", async (node) => {
    const user = await generateIdentity();
    const keys = ["--sign-pub", user.signPubHex, "--kex-pub", user.kexPubHex, "--kex-sig", user.kexSig];
    const { folder, data } = nodes.at(node);
    expect(await unibus(folder, ["user", "add", `u${node}`, ...keys, "--data", data])).toMatchObject({ code: 0 });
    expect(await statusesOf(user, "/directory")).toEqual([200, 200, 200]);
    for (const there of all) await (await dial(nodes.at(there), user)).close();
  });

  test.each(all)("an invite of node %i is redeemed on another, once, and the user is known on all", async (node) => {
    const { token } = await invite(nodes.at(node), admin, { handle: `i${node}` });
    const user = await generateIdentity();
    expect((await register(nodes.url(other(node)), token, user)).status).toBe(201);
    for (const there of all) {
      expect((await register(nodes.url(there), token, await generateIdentity())).status).toBe(409);
    }
    expect(await statusesOf(user, "/directory")).toEqual([200, 200, 200]);
  });
});

describe("rooms", () => {
  test.each(all)(
    "a room that is created on node %i can be joined, written, read and left on the others",
    async (node) => {
      const subject = freshSubject();
      const made = await createRoom(nodes.at(node), ana, policy("encrypt", "persist"), subject);
      const room = await addMembers(nodes.at(other(node)), made, bob);
      expect(await statusesOf(bob, at(room))).toEqual([200, 200, 200]);
      for (const there of all) {
        const connection = await dial(nodes.at(there), bob);
        const ack = (await connection.request(subject, `from ${there}`)).json<{ stream: string }>();
        expect(ack.stream).toBe(streamName(room.state.roomId));
        await connection.close();
      }
      for (const there of all) {
        expect((await history(nodes.at(there), ana, room)).map(String)).toEqual(["from 0", "from 1", "from 2"]);
      }
      await kick(nodes.at(other(node, 2)), room, bob, ana);
      expect(await statusesOf(bob, at(room))).toEqual([403, 403, 403]);
      expect((await call(nodes.url(other(node)), ana, "DELETE", at(room))).status).toBe(204);
      expect(await statusesOf(ana, at(room))).toEqual([410, 410, 410]);
    },
  );

  const erasing = isSoak("erase") ? "in no file of them within 10 minutes" : "the next reads do not return it";
  test(`a message that is erased at one node is gone at all: ${erasing}`, async () => {
    const room = await createRoom(nodes.at(0), ana, policy("persist"));
    const connection = await dial(nodes.at(1), ana);
    const marker = `erased ${randomBytes(16).toString("hex")}`;
    for (const text of ["before", marker, "after"]) await connection.request(room.state.subject, text);
    await connection.close();
    const files = () => all.flatMap((node) => filesWith(nodes.at(node).data, marker));
    expect(files().length).toBeGreaterThanOrEqual(nodesCount);
    const erased = await call(nodes.url(2), ana, "DELETE", at(room, "/messages/2"));
    expect(erased.json).toEqual({ sha256: createHash("sha256").update(marker).digest("hex") });
    for (const there of all) {
      const got = async () => (await history(nodes.at(there), ana, room)).map(String).join();
      await until("the replica that answers has erased it", async () => (await got()) === "before,after");
    }
    if (!isSoak("erase")) return;
    // The replication log is compacted while the room is used, or by time.
    await until("no file contains it", () => files().length === 0, 600_000);
  }, 660_000);

  test("users whose clients use different nodes can talk to each other", async () => {
    await using here = await connect({ url: nodes.url(0), identity: ana, state: "memory" });
    await using there = await connect({ url: nodes.url(1), identity: bob, state: "memory" });
    const mine = await here.createRoom(freshSubject(), "matrix");
    await mine.membership.add(bob.endpoint);
    const theirs = await there.room(mine.id);
    const [heard, answered]: [string[], string[]] = [[], []];
    await theirs.onMessage(({ text, from }) => from === ana.endpoint && heard.push(text));
    await mine.onMessage(({ text, from }) => from === bob.endpoint && answered.push(text));
    for (let n = 0; n < 20; n++) await mine.send(`${n}`);
    await theirs.send("all of it");
    await until("each has received the other's messages", () => heard.length === 20 && answered.length === 1);
    expect(heard).toEqual(Array.from({ length: 20 }, (_, n) => `${n}`));
    expect((await theirs.history()).messages).toHaveLength(21);
  });
});

test("a node that lost its directory is restored, and can then replace another node in the quorum", async () => {
  const room = await createRoom(nodes.at(0), ana, policy("persist"));
  const connection = await dial(nodes.at(0), ana);
  for (let n = 0; n < 50; n++) await connection.request(room.state.subject, `${n}`);
  await connection.close();
  const { endpoint } = bob;
  await nodes.kill(1);
  nodes.lose(1);
  await nodes.boot(1);
  await nodes.untilReady();
  await nodes.kill(0);
  const read = async (): Promise<string[]> => (await history(nodes.at(1), ana, room)).map(String);
  const texts = Array.from({ length: 50 }, (_, n) => `${n}`);
  await until("the node returns the messages", async () => (await read().catch(() => [])).join() === texts.join());
  // Each bucket elects a leader of its own.
  const known = async (): Promise<readonly { endpoint: string }[]> => {
    const { status, json } = await call(nodes.url(1), ana, "GET", "/directory");
    return status === 200 ? (json.members as { endpoint: string }[]) : [];
  };
  await until("the node returns the users", async () => (await known()).some((one) => one.endpoint === endpoint));
  await nodes.boot(0);
  await nodes.untilReady();
}, 120_000);

describe("blobs", () => {
  test.each(all)(
    "a blob that is stored on node %i can be read on all, also when that node is down",
    async (node) => {
      const bytes = randomBytes(300_000);
      const hash = createHash("sha256").update(bytes).digest("hex");
      const url = nodes.url(node);
      const headers = signedHeaders(ana, { url, method: "POST", target: "/blobs", body: bytes });
      expect((await send(`${url}/blobs`, { method: "POST", headers, body: bytes })).json).toEqual({ hash });
      const got = async (there: number): Promise<boolean> => {
        const signed = { url: nodes.url(there), method: "GET", target: `/blobs/${hash}` };
        const reply = await fetch(`${signed.url}${signed.target}`, { headers: signedHeaders(bob, signed) });
        return reply.status === 200 && Buffer.from(await reply.arrayBuffer()).equals(bytes);
      };
      expect(await Promise.all(all.map(got))).toEqual([true, true, true]);
      await nodes.kill(node);
      await until("the other nodes have it", async () =>
        (await Promise.all([other(node), other(node, 2)].map(got))).every(Boolean),
      );
      await nodes.boot(node);
      await nodes.untilReady();
      expect(await got(node)).toBe(true);
    },
    60_000,
  );
});

const open = (identity: Identity, first: number): Promise<Bus> => {
  const urls = nodes.urls.map((_, i) => nodes.url((first + i) % nodesCount));
  return connect({ urls, identity, state: "memory" });
};

/** Measures the longest time between two calls of `mark`, in milliseconds. */
function longestGap(): { mark: () => void; readonly ms: () => number } {
  let [last, longest] = [performance.now(), 0];
  const mark = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  };
  return { mark, ms: () => Math.round(longest) };
}

test("clients lose no message while each node restarts in turn, as for an upgrade", async () => {
  await using here = await open(ana, 0);
  await using there = await open(bob, 1);
  const mine = await here.createRoom(freshSubject(), "matrix");
  await mine.membership.add(bob.endpoint);
  const received: string[] = [];
  await (await there.room(mine.id)).onMessage(({ text }) => received.push(text));
  const sent: string[] = [];
  const [acks, reads] = [longestGap(), longestGap()];
  let isOver = false;
  const talking = (async () => {
    while (!isOver) {
      const text = `${sent.length}`;
      await mine.send(text, { timeoutMs: 60_000 });
      sent.push(text);
      acks.mark();
      await Bun.sleep(5);
    }
  })();
  const reading = (async () => {
    while (!isOver) {
      const isRead = await here.rooms().then(
        () => true,
        () => false,
      );
      if (isRead) reads.mark();
      await Bun.sleep(20);
    }
  })();
  for (let node = 0; node < nodesCount; node++) {
    await nodes.stop(node);
    await nodes.boot(node);
    await nodes.untilReady();
  }
  isOver = true;
  await Promise.all([talking, reading]);
  await until("bob has received all", () => received.length >= sent.length);
  expect(received).toEqual(sent);
  console.log(
    `rolling: ${sent.length} messages; longest without an ack ${acks.ms()} ms, without a read ${reads.ms()} ms`,
  );
}, 180_000);

test("clients lose no message while each node is killed in turn", async () => {
  await using here = await open(ana, 0);
  await using there = await open(bob, 1);
  const mine = await here.createRoom(freshSubject(), "matrix");
  await mine.membership.add(bob.endpoint);
  const theirs = await there.room(mine.id);
  const received: string[] = [];
  await theirs.onMessage(({ text }) => received.push(text));
  const sent: string[] = [];
  const talk = async (): Promise<void> => {
    for (let i = 0; i < each; i++) {
      const text = `${sent.length}`;
      await mine.send(text, { timeoutMs: 60_000 });
      sent.push(text);
    }
  };
  for (let node = 0; node < nodesCount; node++) {
    await talk();
    const talking = talk();
    await nodes.kill(node);
    await talking;
    // The remaining nodes serve a change and a full read.
    const before = mine.epoch;
    await until("the remaining two change the room", () =>
      mine.membership.rekey().then(
        () => true,
        () => false,
      ),
    );
    expect(mine.epoch).toBeGreaterThan(before);
    await talk();
    await nodes.boot(node);
    await nodes.untilReady();
  }
  await talk();
  await until("bob has received all", () => received.length >= sent.length);
  expect(received).toEqual(sent);
  const { messages } = await theirs.history({ limit: 1_000 });
  expect(messages.map(({ text }) => text)).toEqual(sent);
}, 180_000);
