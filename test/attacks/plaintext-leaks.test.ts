/**
 * The plaintext of an encrypted room exists only on its members' machines: not in the data directory, JetStream's
 * store, the database and its journals, a log or a reply, in any common encoding.
 * Source: docs/protocol/rooms.md, docs/threat-model.md.
 */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "../../src/client/index.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import { Folder, Server } from "../support/executable.ts";
import { HostileNats } from "../support/hostile-nats.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { freshSubject } from "../support/peer.ts";

/** A text that occurs nowhere by chance. The search ignores its ends, which base64 encodes differently by alignment. */
const newMarker = (what: string) => `MARKER-${what}-${newUlid()}-${newUlid()}`;

/** Returns every form of a text to search for: plain, base64 in its three alignments, hex, UTF-16. */
function formsOf(text: string): Buffer[] {
  const bytes = Buffer.from(text);
  const aligned = [0, 1, 2].map((shift) => {
    // The bytes before and after change only the first and the last characters.
    const encoded = Buffer.concat([Buffer.alloc(shift), bytes]).toString("base64");
    return encoded.slice(4, -4);
  });
  const url = aligned.map((form) => form.replaceAll("+", "-").replaceAll("/", "_"));
  const utf16 = Buffer.from(text, "utf16le");
  const hex = bytes.toString("hex");
  return [
    ...[bytes, utf16, Buffer.from(utf16).swap16()],
    ...[...aligned, ...url, hex, hex.toUpperCase(), encodeURIComponent(text)].map((form) => Buffer.from(form)),
    Buffer.from(text.toLowerCase()),
    Buffer.from(bytes).reverse(),
  ];
}

/** Returns every file under a folder, with its bytes. */
function filesIn(folder: string): { path: string; bytes: Buffer }[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return filesIn(path);
    return entry.isFile() ? [{ path, bytes: readFileSync(path) }] : [];
  });
}

/** Returns the places in which one of the texts occurs in some form. */
function found(places: readonly { path: string; bytes: Buffer }[], texts: readonly string[]): string[] {
  const forms = texts.flatMap((text) => formsOf(text).map((form) => ({ text, form })));
  return places.flatMap(({ path, bytes }) =>
    forms.filter(({ form }) => bytes.includes(form)).map(({ text }) => `${text} in ${path}`),
  );
}

test("a text is found in each of its encodings", () => {
  const text = newMarker("self");
  for (const form of formsOf(text)) {
    const bytes = Buffer.concat([Buffer.from("before"), form, Buffer.from("after")]);
    expect(found([{ path: "x", bytes }], [text])).not.toEqual([]);
  }
  for (const before of ["", "a", "ab", "abc"]) {
    const bytes = Buffer.from(Buffer.from(`${before}${text}tail`).toString("base64"));
    expect(found([{ path: "x", bytes }], [text])).not.toEqual([]);
  }
  expect(found([{ path: "x", bytes: Buffer.from(newMarker("other")) }], [text])).toEqual([]);
});

test("messages of an encrypted room appear in no file, no log and no reply", async () => {
  const markers = Object.fromEntries(
    ["text", "blob", "reply", "reaction", "thread", "request", "answer"].map((what) => [what, newMarker(what)]),
  ) as Record<string, string>;
  const open = newMarker("open");
  const said = (what: string) => markers[what] ?? "";
  using folder = new Folder();
  const server = await Server.start({ proxied: true, folder, args: ["--set", "http.rate=100000"] });
  const replies: Buffer[] = [];
  const carried: Buffer[] = [];
  try {
    await using hostile = await HostileNats.start(server);
    hostile.http.rewrite((answer, asked) => {
      replies.push(Buffer.from(JSON.stringify(asked.headers)), asked.body, answer.body);
      replies.push(Buffer.from(JSON.stringify(answer.headers)));
      if (!asked.target.startsWith("/info")) return answer;
      const info = { ...(JSON.parse(answer.body.toString()) as object), nats: [hostile.natsUrl] };
      return { ...answer, body: Buffer.from(JSON.stringify(info)) };
    });
    hostile.tamper = (message) => {
      carried.push(message.headers ?? Buffer.alloc(0), message.data);
      return [message];
    };
    const people: Cast<"ana" | "bob"> = await castOf(server, "ana", "bob");
    await using ana = await connect({ url: hostile.url, identity: people.ana, state: "memory" });
    await using bob = await connect({ url: hostile.url, identity: people.bob, state: "memory" });
    const room = await ana.createRoom(freshSubject(), "matrix");
    await room.membership.add(people.bob.endpoint);
    const theirs = await bob.room(room.id);
    const got: string[] = [];
    await using _durable = await theirs.durable(({ text }) => got.push(text));
    const blob = await room.putBlob(Buffer.from(said("blob")));
    const first = await room.send(said("text"), { blob });
    const [message] = (await theirs.history()).messages;
    if (message === undefined) throw new Error("no message");
    expect([message.id, Buffer.from(await theirs.getBlob(message)).toString()]).toEqual([first.id, said("blob")]);
    await theirs.reply(message, said("reply"));
    await theirs.react(message, said("reaction"));
    await room.send(said("thread"), { thread: message.id });
    const stop = await theirs.respond(() => said("answer"));
    expect((await room.request(said("request"))).text).toBe(said("answer"));
    stop();
    await room.membership.kick(people.bob.endpoint);
    await room.send(said("text"));
    const texts = (await room.history()).messages.map(({ text }) => text);
    expect(texts).toEqual(["text", "reply", "reaction", "thread", "request", "text"].map(said));
    // Proves that the search works: the text of an unencrypted room is found.
    const clear = await ana.createRoom(freshSubject(), { encrypt: false, persist: true, sign_msgs: false });
    await clear.send(open);
    carried.push(...hostile.published.flatMap(({ headers, data }) => [headers ?? Buffer.alloc(0), data]));
  } finally {
    await server.end();
  }
  const { stdout, stderr } = await server.output();
  const files = filesIn(folder.path);
  const places = [
    ...files,
    { path: "stdout", bytes: Buffer.from(stdout) },
    { path: "stderr", bytes: Buffer.from(stderr) },
    ...replies.map((bytes, i) => ({ path: `HTTP ${i}`, bytes })),
    ...carried.map((bytes, i) => ({ path: `NATS ${i}`, bytes })),
  ];
  expect(files.some(({ path }) => path.includes("jetstream"))).toBe(true);
  expect(files.some(({ path }) => path.endsWith(".db") || path.endsWith(".sqlite"))).toBe(true);
  expect(replies.length).toBeGreaterThan(50);
  expect(carried.length).toBeGreaterThan(20);
  expect(found(files, [open])).not.toEqual([]);
  expect(found(places, Object.values(markers))).toEqual([]);
}, 60_000);
