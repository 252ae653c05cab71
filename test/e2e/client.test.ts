/** The SDK against a real server in one conversation: live messages, history, kicks, requests, blobs and durables. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { type Bus, connect, type Message } from "../../src/client/index.ts";
import { Server, until } from "../support/executable.ts";
import { addUser, freshSubject, postUser } from "../support/peer.ts";

let server: Server;
let admin: Identity;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=100000"] });
  admin = await addUser(server, "root", { admin: true });
});
afterAll(() => server[Symbol.asyncDispose]());

async function busOf(name: string): Promise<Bus> {
  return connect({ url: server.ready.http, identity: await postUser(server, admin, name), state: "memory" });
}

const texts = (messages: readonly Message[]) => messages.map(({ text }) => text);

describe("a conversation", () => {
  test("works between two users in an encrypted, persistent room: live, history, threads, reactions", async () => {
    await using ana = await busOf("ana");
    await using bob = await busOf("bob");
    const subject = freshSubject();
    const mine = await ana.createRoom(subject, "matrix");
    const before = await mine.send("is anyone else here");
    expect(before.seq).toBe(1);
    await mine.membership.add(bob.identity.endpoint);
    const theirs = await bob.room(subject);
    const got: Message[] = [];
    await theirs.onMessage((message) => got.push(message));
    const first = await mine.send("hello bob");
    await until("bob has received it", () => got.length === 1);
    const [hello] = got;
    if (hello === undefined) throw new Error("no message");
    expect([hello.text, hello.id, hello.from, hello.handle]).toEqual([
      "hello bob",
      first.id,
      ana.identity.endpoint,
      "ana",
    ]);
    expect([hello.verified, hello.late, hello.kind]).toEqual([true, false, "text"]);
    const answer = await theirs.reply(hello, "hello ana");
    await theirs.react(hello, "👍");
    await until("bob receives his own message, too", () => got.length === 3);
    expect([got[1]?.id, got[1]?.replyTo, got[1]?.thread]).toEqual([answer.id, hello.id, hello.id]);
    expect([got[2]?.kind, got[2]?.text, got[2]?.replyTo]).toEqual(["react", "👍", hello.id]);
    // A member added in the first epoch can read it from the beginning.
    expect(texts((await theirs.history()).messages)).toEqual(["is anyone else here", "hello bob", "hello ana", "👍"]);
    const last = await mine.history({ limit: 2 });
    expect([texts(last.messages), last.more, last.firstSeq]).toEqual([["hello ana", "👍"], true, 3]);
    expect(theirs.stats().dropped).toEqual({});
  });

  test("from the start has history and new messages, each once and in order", async () => {
    await using ana = await busOf("ana");
    const room = await ana.createRoom(freshSubject(), "matrix");
    for (let i = 0; i < 30; i++) await room.send(`m${i}`);
    const got: string[] = [];
    const messages = room.messages({ from: "start" });
    const sending = (async () => {
      await messages.ready;
      for (let i = 30; i < 60; i++) await room.send(`m${i}`);
    })();
    for await (const { text } of messages) if (got.push(text) === 60) break;
    await sending;
    expect(got).toEqual(Array.from({ length: 60 }, (_, i) => `m${i}`));
  });

  test("lets a kicked member read what was sent before, and nothing later", async () => {
    await using ana = await busOf("ana");
    await using bob = await busOf("bob");
    await using cleo = await busOf("cleo");
    const mine = await ana.createRoom(freshSubject(), "matrix");
    await mine.membership.add([bob.identity.endpoint, cleo.identity.endpoint]);
    const bobs = await bob.room(mine.id);
    const cleos = await cleo.room(mine.id);
    const got: string[] = [];
    await cleos.onMessage(({ text }) => got.push(text));
    const kept = bobs.messages();
    const reading = (async () => {
      const all: string[] = [];
      try {
        for await (const { text } of kept) all.push(text);
        return { all, end: "closed" };
      } catch (error) {
        return { all, end: String((error as { code?: string }).code) };
      }
    })();
    await kept.ready;
    await mine.send("for all");
    await mine.membership.kick(bob.identity.endpoint);
    await mine.send("without bob");
    await until("cleo has received both", () => got.length === 2);
    expect(got).toEqual(["for all", "without bob"]);
    expect(await reading).toEqual({ all: ["for all"], end: "forbidden" });
    await expect(bobs.send("let me in", { timeoutMs: 2_000 })).rejects.toThrow();
  });

  test("supports requests, and blobs that members can open", async () => {
    await using ana = await busOf("ana");
    await using bob = await busOf("bob");
    for (const mode of ["matrix", "nats"] as const) {
      const mine = await ana.createRoom(freshSubject("rpc"), mode);
      await mine.membership.add(bob.identity.endpoint);
      const theirs = await bob.room(mine.id);
      const stop = await theirs.respond(({ text }) => text.toUpperCase());
      expect((await mine.request("shout")).text).toBe("SHOUT");
      stop();
      await expect(mine.request("again", { timeoutMs: 300 })).rejects.toMatchObject({ code: "timeout" });
    }
    const room = await ana.createRoom(freshSubject(), "matrix");
    const bytes = crypto.getRandomValues(new Uint8Array(60_000));
    const { id } = await room.send("a picture", { blob: await room.putBlob(bytes) });
    const [message] = (await room.history()).messages;
    if (message === undefined) throw new Error("no message");
    expect(message.id).toBe(id);
    expect(await room.getBlob(message)).toEqual(bytes);
  });

  test("with a durable delivers what was sent while the user was away, and again what was not acknowledged", async () => {
    await using ana = await busOf("ana");
    const identity = await postUser(server, admin, "bob");
    const room = await ana.createRoom(freshSubject(), "matrix");
    await room.membership.add(identity.endpoint);
    for (const device of ["main", "phone"]) {
      const got: string[] = [];
      {
        await using bob = await connect({ url: server.ready.http, identity, state: "memory" });
        await room.send(`before ${device}`);
        await using _durable = await (await bob.room(room.id)).durable(({ text }) => got.push(text), { device });
        await until("the backlog is delivered", () => got.includes(`before ${device}`));
      }
      const seen = got.length;
      for (let i = 0; i < 20; i++) await room.send(`away ${i}`);
      await using bob = await connect({ url: server.ready.http, identity, state: "memory" });
      await using _durable = await (await bob.room(room.id)).durable(({ text }) => got.push(text), { device });
      await until("the missed messages are delivered", () => got.length >= seen + 20);
      expect(got.slice(seen)).toEqual(Array.from({ length: 20 }, (_, i) => `away ${i}`));
    }
  });
});
