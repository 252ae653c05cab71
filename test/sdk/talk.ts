/**
 * Suite cases for conversations: live messages, history, threads, requests and blobs.
 * Runs on every platform through `suite.ts`, so it uses only `unibus/client` and the stage.
 */
import { type Message, modes, type Room } from "unibus/client";
import { equal, ok, refused, until } from "./expect.ts";
import { busOf, type Case, freshSubject, newcomer, type Stage } from "./stage.ts";

const texts = (messages: readonly Message[]): string[] => messages.map(({ text }) => text);

const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, index) => `m${from + index}`);

/** Reads `count` messages and stops; `during` runs once the reader is subscribed. */
async function take(room: Room, from: "start" | "now", count: number, during?: () => Promise<unknown>) {
  const messages = room.messages({ from });
  await messages.ready;
  const got: string[] = [];
  const reading = async () => {
    for await (const { text } of messages) if (got.push(text) === count) break;
  };
  await Promise.all([reading(), during?.()]);
  return got;
}

async function conversation(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  await using bob = await newcomer(stage, "bob");
  const mine = await ana.createRoom(freshSubject(), "matrix");
  equal((await mine.send("alone")).seq, 1);
  await mine.membership.add(bob.identity.endpoint);
  const theirs = await bob.room(mine.subject);
  const got: Message[] = [];
  const stop = await theirs.onMessage((message) => got.push(message));
  const { id } = await mine.send("hello bob");
  await until("bob has received it", () => got.length === 1);
  const hello = got[0] as Message;
  equal([hello.id, hello.from, hello.handle, hello.text], [id, ana.identity.endpoint, "ana", "hello bob"]);
  equal([hello.kind, hello.verified, hello.late, hello.epoch], ["text", true, false, 1]);
  ok(Math.abs(hello.timeMs - Date.now()) < 600_000, "the time is now");
  const answer = await theirs.reply(hello, "hello ana");
  await theirs.react(hello, "👍");
  await until("bob has received his own message", () => got.length === 3);
  equal([got[1]?.id, got[1]?.replyTo, got[1]?.thread], [answer.id, hello.id, hello.id]);
  equal([got[2]?.kind, got[2]?.text, got[2]?.replyTo], ["react", "👍", hello.id]);
  await mine.send(new Uint8Array([0, 255, 1]));
  await mine.send(JSON.stringify({ n: 1 }));
  await until("bytes and JSON arrived", () => got.length === 5);
  equal([got[3]?.data, got[4]?.json<{ n: number }>().n], [new Uint8Array([0, 255, 1]), 1]);
  stop();
  const { received, dropped } = theirs.stats();
  equal([received, dropped], [5, {}]);
}

async function kinds(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  await using bob = await newcomer(stage, "bob");
  const mine = await ana.createRoom(freshSubject(), "matrix");
  await mine.membership.add(bob.identity.endpoint);
  const theirs = await bob.room(mine.subject);
  const got: Message[] = [];
  const stop = await theirs.onMessage((message) => got.push(message));
  await mine.send("helo", { hops: 2, mediaType: "text/markdown" });
  await until("bob has received it", () => got.length === 1);
  const helo = got[0] as Message;
  equal([helo.kind, helo.text, helo.hops, helo.mediaType, helo.fileName], ["text", "helo", 2, "text/markdown", null]);
  await mine.edit(helo, "hello");
  await theirs.react(helo, "👍");
  await theirs.unreact(helo, "👍");
  await mine.pin([helo, helo.id]);
  await mine.setTitle("  Team Zu\u0308rich ");
  await theirs.receipt(helo);
  await mine.send("a cat", { kind: "file", fileName: "cafe\u0301.png", mediaType: "image/png" });
  await mine.send('{"choice":2}', { kind: "app.poll-vote" });
  await mine.send("\0ub\u0001hello");
  await until("all have arrived", () => got.length === 10);
  equal(
    got.slice(1).map(({ kind, text, replyTo }) => [kind, text, replyTo]),
    [
      ["edit", "hello", helo.id],
      ["react", "👍", helo.id],
      ["unreact", "👍", helo.id],
      ["pin", `${helo.id}\n${helo.id}`, null],
      ["title", "Team Zürich", null],
      ["receipt", "", helo.id],
      ["file", "a cat", null],
      ["app.poll-vote", '{"choice":2}', null],
      ["text", "\0ub\u0001hello", null],
    ],
  );
  equal([got[7]?.fileName, got[7]?.mediaType], ["café.png", "image/png"]);
  await refused("forbidden", () => theirs.edit(helo, "mine now"));
  await refused("forbidden", () => theirs.pin([helo]));
  await refused("forbidden", () => theirs.setTitle("mine now"));
  await refused("invalid", () => mine.setTitle("\u202e"));
  await refused("invalid", () => mine.pin(["no id"]));
  await refused("invalid", () => mine.send("x", { fileName: "../passwd" }));
  stop();
  equal(theirs.stats(), { received: 10, dropped: {} });
}

async function history(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  const room = await ana.createRoom(freshSubject(), "matrix");
  equal(await room.history(), { messages: [], firstSeq: 0, lastSeq: 0, more: false });
  for (const text of numbers(0, 6)) await room.send(text);
  const last = await room.history({ limit: 2 });
  equal([texts(last.messages), last.firstSeq, last.lastSeq, last.more], [["m4", "m5"], 5, 6, true]);
  const before = await room.history({ before: last.firstSeq });
  equal([texts(before.messages), before.more], [numbers(0, 4), false]);
}

async function places(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  const room = await ana.createRoom(freshSubject(), "matrix");
  const send = async (from: number, to: number) => {
    for (const text of numbers(from, to)) await room.send(text);
  };
  await send(0, 20);
  equal(await take(room, "start", 40, () => send(20, 40)), numbers(0, 40));
  equal(await take(room, "now", 20, () => send(40, 60)), numbers(40, 60));
  const got: string[] = [];
  const sending: Promise<void>[] = [];
  for await (const { text } of room.messages({ from: "last" })) {
    if (got.push(text) === 1) sending.push(send(60, 80));
    if (got.length === 21) break;
  }
  await Promise.all(sending);
  equal(got, numbers(59, 80));
}

async function unkept(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  await using bob = await newcomer(stage, "bob");
  const mine = await ana.createRoom(freshSubject("proc"), "nats");
  equal(mine.state.state.policy, modes.nats);
  await mine.membership.add(bob.identity.endpoint);
  const reading = take(await bob.room(mine.id), "now", 5, async () => {
    for (const text of numbers(0, 5)) equal((await mine.send(text)).seq, null);
  });
  equal(await reading, numbers(0, 5));
  equal((await mine.history()).messages, []);
}

async function requests(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  await using bob = await newcomer(stage, "bob");
  for (const mode of ["matrix", "nats"] as const) {
    const mine = await ana.createRoom(freshSubject("rpc"), mode);
    await mine.membership.add(bob.identity.endpoint);
    const theirs = await bob.room(mine.id);
    const stop = await theirs.respond(({ text }) => text.toUpperCase());
    const answers = await Promise.all(["one", "two", "three"].map((text) => mine.request(text)));
    equal(texts(answers), ["ONE", "TWO", "THREE"]);
    equal(answers[0]?.from, bob.identity.endpoint);
    stop();
    await refused("timeout", () => mine.request("again", { timeoutMs: 300 }));
  }
}

async function blobs(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  await using bob = await newcomer(stage, "bob");
  const mine = await ana.createRoom(freshSubject(), "matrix");
  await mine.membership.add(bob.identity.endpoint);
  const bytes = Uint8Array.from({ length: 1_500_000 }, (_, index) => (index * 7) % 251);
  await mine.send("a picture", { blob: await mine.putBlob(bytes) });
  const theirs = await bob.room(mine.id);
  const [message] = (await theirs.history()).messages;
  equal(message?.text, "a picture");
  equal(await theirs.getBlob(message as Message), bytes);
  await refused("not_found", () => theirs.getBlob({ blob: null, epoch: 1 }));
  const stale = await mine.putBlob(bytes);
  await mine.membership.rekey();
  await refused("conflict", () => mine.send("too late", { blob: stale }));
  equal(await mine.getBlob(stale), bytes);
  const stranger = { ...(message as Message).blob, n: "A".repeat(32) } as NonNullable<Message["blob"]>;
  await refused("invalid", () => theirs.getBlob({ blob: stranger, epoch: 1 }));
}

async function files(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  await using bob = await newcomer(stage, "bob");
  const mine = await ana.createRoom(freshSubject(), "matrix");
  await mine.membership.add(bob.identity.endpoint);
  const theirs = await bob.room(mine.subject);
  const bytes = Uint8Array.from({ length: 3_000_000 }, (_, index) => (index * 7) % 251);
  // A stream of unknown size is sent in parts.
  const sent: unknown[] = [];
  await mine.sendFile(new Blob([bytes]).stream(), {
    ...{ name: "cafe\u0301.bin", mediaType: "x/y", caption: "all of it" },
    onProgress: (progress) => sent.push(progress),
  });
  await mine.sendFile(new File([bytes], "one.bin", { type: "x/z" }));
  const [parts, one] = (await theirs.history()).messages as [Message, Message];
  equal([parts.kind, parts.text, parts.header.parts?.count, one.header.parts], ["file", "all of it", 2, undefined]);
  const [large, small] = [parts.file(), one.file()];
  equal([large?.name, large?.mediaType, large?.size], ["café.bin", "x/y", bytes.length]);
  equal([small?.name, small?.mediaType, small?.size], ["one.bin", "x/z", bytes.length]);
  equal(sent.at(-1), { done: bytes.length, total: null });
  equal((await new Response(large?.stream()).arrayBuffer()).byteLength, bytes.length);
  equal(await large?.bytes(), bytes);
  equal(await small?.bytes(), bytes);
  await refused("invalid", () => mine.sendFile(new Blob([bytes]), { name: "../passwd" }));
}

async function durables(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  const identity = await stage.user("bob");
  const room = await ana.createRoom(freshSubject(), "matrix");
  await room.membership.add(identity.endpoint);
  for (const text of numbers(0, 3)) await room.send(text);
  for (const [device, wanted] of [
    ["main", numbers(0, 3)],
    ["phone", [...numbers(0, 3), "away"]],
  ] as const) {
    const got: string[] = [];
    {
      await using bob = await busOf(stage, identity);
      await using _place = await (await bob.room(room.id)).durable(({ text }) => got.push(text), { device });
      await until("the backlog arrived", () => got.length === wanted.length);
    }
    equal(got, wanted);
    if (device === "main") await room.send("away");
  }
  await using bob = await busOf(stage, identity);
  const got: string[] = [];
  const place = await (await bob.room(room.id)).durable(({ text }) => got.push(text));
  await until("exactly the missed messages arrived", () => got.length === 1);
  equal(got, ["away"]);
  await place.forget();
  const unkeptRoom = await bob.createRoom(freshSubject("proc"), "nats");
  await refused("conflict", () => unkeptRoom.durable(() => undefined));
}

async function listeners(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  const room = await ana.createRoom(freshSubject(), "matrix");
  const troubles: unknown[] = [];
  ana.on("trouble", (error) => troubles.push(error));
  const fault = new Error("the application's own");
  const got: string[] = [];
  await room.onMessage(({ text }) => {
    got.push(text);
    throw fault;
  });
  const ended: unknown[] = [];
  await room.onMessage(() => Promise.reject(fault), { onEnd: (error) => ended.push(error) });
  await room.send("for all");
  equal((await room.send("still here")).seq, 2);
  await until("both devices have both messages", () => troubles.length === 4 && got.length === 2);
  ok(
    troubles.every((error) => error === fault) && ended.length === 0,
    "each is reported as it was thrown, and none ends",
  );
}

/** Cases for conversations. */
export const talk: readonly Case[] = [
  { name: "two users exchange text, bytes, JSON, replies, threads and reactions", run: conversation },
  { name: "edits, reactions, pins, titles, receipts, files and kinds of applications arrive as such", run: kinds },
  { name: "history is paged, oldest first", run: history },
  { name: "messages from the start, from now on, and from the last one", run: places },
  { name: "a room without persistence delivers live messages only", run: unkept },
  { name: "requests are answered, or time out", run: requests },
  { name: "blobs can be opened by members", run: blobs },
  { name: "files arrive whole, as one blob or in parts", run: files },
  { name: "durables deliver missed messages, separately for each device", run: durables },
  { name: "an exception in the application does not end a reader", run: listeners },
];
