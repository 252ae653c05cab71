/**
 * One malicious member against the others: nothing that a member with all keys can sign and publish may end a reader, a
 * service or a sender. The tests publish every hostile frame in rooms of each kind while commands and SDK readers run,
 * live and from the history, and flood a service with requests.
 * Source: docs/protocol/rooms.md, docs/protocol/frames.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { connect, type Message, type Policy } from "../../src/client/index.ts";
import { CliPeer, type Running } from "../support/cli-peer.ts";
import { type Server, until } from "../support/executable.ts";
import { hostileFrames } from "../support/hostile-member.ts";
import { HostileScene } from "../support/hostile-scene.ts";
import { dial, postUser } from "../support/peer.ts";

let server: Server;
let admin: Identity;

beforeAll(async () => {
  ({ server, admin } = await HostileScene.server());
});
afterAll(() => server[Symbol.asyncDispose]());

const policies: Readonly<Record<string, Policy>> = {
  "with encryption, history and signatures": { encrypt: true, persist: true, sign_msgs: true },
  "with all three turned off": { encrypt: false, persist: false, sign_msgs: false },
};

/** Publishes all frames as cleo, with reply subjects that name no user, cleo and ana. */
async function publishAll(at: HostileScene, frames: readonly Uint8Array[]): Promise<void> {
  const { endpoint } = at.cleo.identity;
  const token = `${"0".repeat(32)}.${"1".repeat(32)}`;
  const replies = [undefined, `_INBOX.${endpoint}.r.${token}`, `_INBOX.${at.ana.identity.endpoint}.r.${token}`, "a"];
  const connection = await dial(server, at.cleo.identity);
  for (const [i, bytes] of frames.entries()) {
    const reply = replies[i % replies.length];
    connection.publish(at.mine.subject, bytes, reply === undefined ? {} : { reply });
    // Stays below the rate at which a reader is delivered to, so that no frame is skipped as overflow.
    if (i % 50 === 49) await connection.flush();
  }
  await connection.drain();
}

for (const [kind, policy] of Object.entries(policies)) {
  describe(`in a room ${kind}`, () => {
    test("every command continues, and answers", async () => {
      await using at = await HostileScene.open(server, { admin, mode: policy });
      const { subject } = at.mine;
      using ana = new CliPeer(server, at.ana.identity, "ana");
      const dan = await postUser(server, admin, "dan");
      await at.mine.membership.add(dan.endpoint);
      using reader = new CliPeer(server, dan, "dan");
      const { id } = await at.mine.send("an honest one");
      const frames = await hostileFrames(at, at.cleo.identity, id);

      await using running = new AsyncDisposableStack();
      const start = (peer: CliPeer, ...args: string[]): Running => running.use(peer.start(args));
      const following = {
        tail: start(reader, "tail", subject),
        json: start(reader, "tail", subject, "--json"),
        ids: start(reader, "tail", subject, "--ids"),
        chat: start(reader, "chat", subject),
        worker: start(reader, "worker", subject, "--every", "200", "--json"),
      };
      const service = start(reader, "serve-rpc", subject, "--", "cat");
      await Promise.all([following.tail, following.json, following.ids].map((one) => one.untilNote("following")));
      await service.untilNote("answering");
      await following.chat.until("the chat", (lines) => lines.length > 0);

      await publishAll(at, frames);
      await at.mine.send("the last word");
      for (const name of ["tail", "json", "ids", "chat"] as const) {
        await following[name].until(`${name} has received the last message`, (lines) =>
          lines.some((l) => l.includes("last word")),
        );
      }
      const ticks = following.worker.lines.length;
      await following.worker.until("the worker ticks on", (lines) => lines.length > ticks + 2);
      expect(await ana.ok(["request", subject, "are you there?", "--timeout", "20000"])).toContain("are you there?");

      const all = policy.persist
        ? [
            ["tail", subject, "--since", "all"],
            ["tail", subject, "--since", id],
          ]
        : [];
      for (const args of all) {
        const late = start(reader, ...args);
        await late.until(`${args.join(" ")} shows the last message`, (lines) =>
          lines.some((line) => line.includes("last word")),
        );
      }
      const history = await reader.run(["history", subject, "--limit", "1000"]);
      expect([history.code, history.stdout.includes("the last word")]).toEqual([0, policy.persist]);
      expect((await reader.run(["history", subject, "--json"])).code).toBe(0);
      await reader.ok(["send", subject, "an answer", "--reply-to", id]);
      if (policy.encrypt) {
        writeFileSync(reader.folder.file("f"), "a file");
        const ref = (await reader.ok(["blob", "put", subject, reader.folder.file("f")])).trim();
        expect(await ana.ok(["blob", "get", subject, ref, "--out", "-"])).toBe("a file");
      }
      for (const command of [["rooms"], ["room", "show", subject], ["room", "members", subject]])
        await reader.ok(command);
      // No command has ended, and each one still ends when asked to.
      for (const one of [...Object.values(following), service]) expect(await one.end()).toBe(0);
    }, 180_000);

    test("every way to read continues in the SDK, even if the application throws", async () => {
      await using at = await HostileScene.open(server, { admin, mode: policy });
      const { id } = await at.mine.send("an honest one");
      const frames = await hostileFrames(at, at.cleo.identity, id);
      const theirs = at.theirs;
      const [thrown, worked, seen]: Message[][] = [[], [], []];
      await theirs.onMessage((message) => {
        thrown?.push(message);
        throw new TypeError("an application that expects JSON");
      });
      const stop = await theirs.respond((request) => {
        if (request.text !== "ping") throw new TypeError("no answer to this");
        return "pong";
      });
      if (policy.persist) await theirs.durable((message) => worked?.push(message));
      const messages = theirs.messages();
      await messages.ready;
      void (async () => {
        for await (const message of messages) seen?.push(message);
      })();

      await publishAll(at, frames);
      await at.mine.send("the last word");
      const lists = policy.persist ? { thrown, worked, seen } : { thrown, seen };
      for (const [name, list] of Object.entries(lists)) {
        await until(
          `${name} has received the last message`,
          () => list?.some(({ text }) => text === "the last word") === true,
        );
      }
      expect((await at.mine.request("ping", { timeoutMs: 20_000 })).text).toBe("pong");
      const page = await theirs.history({ limit: 1_000 });
      expect(page.messages.some(({ text }) => text === "the last word")).toBe(policy.persist);
      await theirs.send("bob goes on");
      expect(at.ended).toBeUndefined();
      expect(theirs.stats().dropped.epoch_ahead).toBeGreaterThan(0);
      // The client reported every frame that a member may not send, and blamed none of them on the server.
      expect(at.suspicious.filter(({ what }) => what === "room_forked" || what === "room_stale")).toEqual([]);
      stop();
      await messages[Symbol.asyncDispose]();
    }, 120_000);
  });
}

describe("a request", () => {
  test("is not ended by what a member writes to its inbox", async () => {
    await using at = await HostileScene.open(server, { admin });
    const hostile = await dial(server, at.cleo.identity);
    const roomKey = await at.key();
    const ahead = await at.frame({ by: at.cleo.identity, epoch: 9, roomKey });
    const stranger = await at.frame({ by: at.eve, roomKey });
    let junkIsThere: Promise<void> | null = null;
    hostile.subscribe(at.mine.subject, {
      callback: (_, { reply }) => {
        if (reply === undefined) return;
        const junk = ['{"error":{"code":503,"err_code":10077}}', '{"stream":"X","seq":1}', "", "{}", ahead, stranger];
        for (const bytes of junk) hostile.publish(reply, bytes);
        junkIsThere = hostile.flush();
      },
    });
    await hostile.flush();
    await at.theirs.respond(async () => {
      // The server receives the junk before the answer, and delivers in that order.
      await until("the junk is sent", () => junkIsThere !== null);
      await junkIsThere;
      return "the answer";
    });
    expect((await at.mine.request("a question", { timeoutMs: 20_000 })).text).toBe("the answer");
    await hostile.close();
  });

  test("is answered although one member asks more than a service can handle", async () => {
    await using at = await HostileScene.open(server, { admin });
    const waiting: (() => void)[] = [];
    await at.theirs.respond(async (request) => {
      if (request.from === at.cleo.identity.endpoint) await new Promise<void>((resolve) => waiting.push(resolve));
      return "answered";
    });
    const cleos = await connect({ url: server.ready.http, identity: at.cleo.identity, state: "memory" });
    const theirs = await cleos.room(at.mine.id);
    const asking = Array.from({ length: 1_100 }, () => theirs.request("again", { timeoutMs: 5_000 }).catch(() => null));
    await until("one sender's maximum of requests is in progress", () => waiting.length === 250);
    expect((await at.mine.request("mine", { timeoutMs: 20_000 })).text).toBe("answered");
    for (const go of waiting) go();
    await cleos.close();
    await Promise.all(asking);
  }, 60_000);

  test("to serve-rpc is answered in turn, although another member has many waiting requests", async () => {
    await using at = await HostileScene.open(server, { admin });
    using ana = new CliPeer(server, at.ana.identity, "ana");
    await using service = ana.start([
      "serve-rpc",
      at.mine.subject,
      "--parallel",
      "1",
      "--",
      "sh",
      "-c",
      "sleep 0.3; cat",
    ]);
    await service.untilNote("answering");
    const open = async (identity: Identity) => {
      const bus = await connect({ url: server.ready.http, identity, state: "memory" });
      return { bus, room: await bus.room(at.mine.id) };
    };
    const dan = await postUser(server, admin, "dan");
    await at.mine.membership.add(dan.endpoint);
    const [cleos, dans] = [await open(at.cleo.identity), await open(dan)];
    const closing = new AbortController();
    const { signal } = closing;
    // 100 requests take 30 s, one after the other.
    const asking = Array.from({ length: 100 }, (_, n) =>
      cleos.room.request(`again ${n}`, { timeoutMs: 60_000, signal }).then(
        () => true,
        () => false,
      ),
    );
    expect(await asking[0]).toBe(true);
    expect((await dans.room.request("mine", { timeoutMs: 15_000 })).text).toBe("mine");
    // An answer in turn does not mean that the others are lost.
    expect(await asking[2]).toBe(true);
    closing.abort();
    await Promise.all(asking);
    await Promise.all([cleos.bus.close(), dans.bus.close()]);
  }, 90_000);
});
