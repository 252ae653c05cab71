/**
 * Senders under faults: no connection, a stalled connection, permissions older than the room. Each message is stored
 * once, sent once, or refused with an error; none is lost silently. Messages wait in a bounded queue, in order, until
 * the connection is back. Source: docs/protocol/history.md, docs/protocol/logins.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { connect } from "../../src/client/index.ts";
import { type Server, until } from "../support/executable.ts";
import { HostileNats } from "../support/hostile-nats.ts";
import { HostileScene } from "../support/hostile-scene.ts";
import { freshSubject, postUser } from "../support/peer.ts";

let server: Server;
let admin: Identity;

beforeAll(async () => {
  ({ server, admin } = await HostileScene.server());
});
afterAll(() => server[Symbol.asyncDispose]());

/** Disconnects bob and refuses new connections until `back` is called. */
async function cutOff(at: HostileScene): Promise<{ back: () => Promise<void> }> {
  let isUp = true;
  at.bob.on("status", (status) => {
    isUp = status.state === "connected";
  });
  at.hostile.proxy.isRefusing = true;
  at.hostile.proxy.cutAll();
  await until("bob has noticed", () => !isUp);
  const tried = () => (at.bob.status.state === "reconnecting" ? at.bob.status.tried : []);
  await until("bob's status names the addresses", () => tried().some((url) => url.startsWith("nats://")));
  return {
    back: async () => {
      at.hostile.proxy.isRefusing = false;
      await until("bob is connected again", () => isUp);
    },
  };
}

for (const mode of ["matrix", "nats"] as const) {
  describe(`without a connection, in a room of mode ${mode}`, () => {
    test("a message waits and is sent once, in order; with offline: refuse it is refused at once", async () => {
      await using at = await HostileScene.open(server, { admin, mode });
      const cleos: string[] = [];
      await (await at.cleo.room(at.mine.id)).onMessage(({ text }) => cleos.push(text));
      const { back } = await cutOff(at);
      const waiting = [at.theirs.send("one"), at.theirs.send("two"), at.theirs.send("three")];
      await expect(at.theirs.send("never", { offline: "refuse" })).rejects.toMatchObject({ code: "unavailable" });
      await expect(at.theirs.send("too long", { timeoutMs: 100 })).rejects.toMatchObject({ code: "timeout" });
      const giveUp = AbortSignal.timeout(50);
      await expect(at.theirs.send("given up", { signal: giveUp })).rejects.toMatchObject({ name: "TimeoutError" });
      await back();
      await Promise.all(waiting);
      await at.theirs.send("four");
      await until("cleo has received all", () => cleos.includes("four"));
      expect(cleos).toEqual(["one", "two", "three", "four"]);
    });

    test("waiting messages are limited: more are refused", async () => {
      const identity = await postUser(server, admin, "dora");
      await using at = await HostileScene.open(server, { admin, mode });
      await at.mine.membership.add(identity.endpoint);
      await using hostile = await HostileNats.start(server);
      const sendLimits = { messagesMax: 5, bytesMax: 10_000 };
      await using dora = await connect({ url: hostile.url, identity, state: "memory", sendLimits });
      const room = await dora.room(at.mine.id);
      hostile.proxy.isRefusing = true;
      hostile.proxy.cutAll();
      const ends = Array.from({ length: 8 }, (_, i) =>
        room.send(`m${i}`, { timeoutMs: 3_000 }).catch((error) => error),
      );
      const codes = (await Promise.all(ends)).map((end: { code?: string }) => end.code);
      expect(codes).toEqual([...Array(5).fill("timeout"), ...Array(3).fill("quota")]);
      await expect(room.send("x".repeat(20_000), { timeoutMs: 500 })).rejects.toMatchObject({ code: "quota" });
    });
  });

  describe(`with permissions that are older than the room, in a room of mode ${mode}`, () => {
    test("a user who was added a moment ago can send", async () => {
      const identity = await postUser(server, admin, "eva");
      await using ana = await connect({ url: server.ready.http, identity: admin, state: "memory" });
      await using hostile = await HostileNats.start(server);
      await using eva = await connect({ url: hostile.url, identity, state: "memory" });
      // Drops every notice to her.
      hostile.tamper = (message) => (message.subject.startsWith("unibus.user.") ? [] : [message]);
      const room = await ana.createRoom(freshSubject(), mode);
      const got: string[] = [];
      await room.onMessage(({ text }) => got.push(text));
      await room.membership.add(identity.endpoint);
      await (await eva.room(room.id)).send("here I am");
      await until("the message arrived", () => got.includes("here I am"));
      expect(got).toEqual(["here I am"]);
    });

    test("a removed member gets forbidden", async () => {
      await using at = await HostileScene.open(server, { admin, mode });
      at.hostile.tamper = (message) => (message.subject.startsWith("unibus.user.") ? [] : [message]);
      let isCut = false;
      at.bob.on("status", ({ state }) => {
        if (state !== "connected") isCut = true;
      });
      await at.mine.membership.kick(at.bob.identity.endpoint);
      // The bus disconnects him a moment after the reply. Until then nats-server accepts his messages.
      await until("he was disconnected", () => isCut);
      await expect(at.theirs.send("let me in", { timeoutMs: 10_000 })).rejects.toMatchObject({ code: "forbidden" });
    });
  });
}

test("a stalled nats-server: messages sent during the stall arrive once when it resumes", async () => {
  await using at = await HostileScene.open(server, { admin });
  const pid = server.ready.nats_pid;
  process.kill(pid, "SIGSTOP");
  let sending: Promise<unknown>;
  try {
    sending = Promise.all(["a", "b", "c"].map((text) => at.theirs.send(text, { timeoutMs: 60_000 })));
    const tries = () => at.hostile.published.filter(({ subject }) => subject === at.theirs.subject).length;
    await until("each send was retried because its ack is late", () => tries() === 6);
  } finally {
    process.kill(pid, "SIGCONT");
  }
  await sending;
  await until("bob has received them", () => at.texts.length >= 3);
  expect(at.texts).toEqual(["a", "b", "c"]);
  expect((await at.mine.history()).lastSeq).toBe(3);
}, 90_000);

/** Drops acks from now on, and counts them. */
function withholdAcks(hostile: HostileNats): { readonly count: number } {
  const withheld = { count: 0 };
  hostile.tamper = (message) => {
    if (!/^_INBOX\.[^.]+\.a\./.test(message.subject)) return [message];
    withheld.count += 1;
    return [];
  };
  return withheld;
}

test("while new permissions are fetched, no message is published before those that were denied", async () => {
  await using at = await HostileScene.open(server, { admin });
  const { subject } = at.theirs;
  await at.theirs.send("first");
  const withheld = withholdAcks(at.hostile);
  const published = () => at.hostile.published.filter((one) => one.subject === subject);
  const before = published().length;
  const denied = at.theirs.send("denied");
  await until("it is stored, and its ack withheld", () => withheld.count > 0);
  at.hostile.tamper = (message) => [message];
  const violation = `-ERR 'Permissions Violation for Publish to "${subject}"'\r\n`;
  const logins = at.hostile.http.asked.filter((line) => line.includes("accepted=true")).length;
  for (const link of at.hostile.proxy.links) link.toClient(Buffer.from(violation));
  await until(
    "bob asks what it may do",
    () => at.hostile.http.asked.filter((line) => line.includes("accepted=true")).length > logins,
  );
  const later: Promise<unknown>[] = [];
  // Some are sent before the login with new permissions, and some after it.
  while (published().length < before + 2) {
    later.push(at.theirs.send("later"));
    await Bun.sleep(1);
  }
  await Promise.all([denied, ...later]);
  const [first, second] = published().slice(before);
  expect(String(second?.data)).toBe(String(first?.data));
});

test("while another connection replaces one, no message is published before those that wait for acks on the old one", async () => {
  await using at = await HostileScene.open(server, { admin });
  await at.theirs.send("first");
  const [old] = at.hostile.proxy.links;
  const withheld = withholdAcks(at.hostile);
  const published = () => at.hostile.published.filter(({ subject }) => subject === at.theirs.subject);
  const before = published().length;
  const unacked = at.theirs.send("unacked");
  await until("it is stored, and its ack withheld", () => withheld.count > 0);
  // A new login for another room.
  const other = await at.ana.createRoom(freshSubject(), "matrix");
  await other.membership.add(at.bob.identity.endpoint);
  await (await at.bob.room(other.id)).onMessage(() => undefined);
  expect(at.hostile.proxy.links.size).toBeGreaterThan(1);
  at.hostile.tamper = (message) => [message];
  const next = at.theirs.send("next");
  await Promise.race([next, Bun.sleep(300)]);
  old?.cut();
  const [one, two] = await Promise.all([unacked, next]);
  const [first, again, last] = published()
    .slice(before)
    .map(({ data }) => String(data));
  expect(again).toBe(first ?? "");
  expect(last).not.toBe(first ?? "");
  expect(two.seq).toBeGreaterThan(one.seq ?? 0);
});

test("many concurrent sends, while the connection breaks repeatedly: each arrives once, in the order of sending", async () => {
  await using at = await HostileScene.open(server, { admin });
  const texts = Array.from({ length: 2_000 }, (_, i) => `${i}`);
  let stored = 0;
  const cutting = (async () => {
    for (let share = 1; share < 10; share++) {
      await until(`${share} tenths are stored`, () => stored >= (texts.length / 10) * share);
      at.hostile.proxy.cutAll();
    }
  })();
  const sending: Promise<unknown>[] = [];
  for (const text of texts) {
    sending.push(at.theirs.send(text).then(() => void stored++));
    await Bun.sleep(1);
  }
  await Promise.all([...sending, cutting]);
  const kept: string[] = [];
  for await (const { text } of at.mine.messages({ from: "start", queueMax: texts.length })) {
    kept.push(text);
    if (kept.length === texts.length) break;
  }
  expect(kept).toEqual(texts);
}, 90_000);

test("if the first of several addresses fails, the next one is used, also when that fails later", async () => {
  await using at = await HostileScene.open(server, { admin });
  const identity = await postUser(server, admin, "fay");
  await at.mine.membership.add(identity.endpoint);
  const dead = "http://127.0.0.1:9";
  await using bus = await connect({ urls: [dead, at.hostile.url, server.ready.http], identity, state: "memory" });
  const room = await bus.room(at.mine.id);
  expect((await room.send("first")).seq).toBe(1);
  at.hostile.http.rewrite(() => null);
  await room.refresh();
  expect((await room.history()).messages.map(({ text }) => text)).toEqual(["first"]);
});
