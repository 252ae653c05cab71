/**
 * Files whose parts, manifest, size or name are not what they should be: nothing wrong is written, and what is wrong is
 * named. By the server, which can exchange what it stores, or by a member. Source: docs/protocol/envelope.md.
 */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import type { Message, Room } from "../../src/client/index.ts";
import { partsOf } from "../../src/client/rooms/room-parts.ts";
import { sayingOf } from "../../src/client/rooms/saying.ts";
import type { EnvelopeHeader } from "../../src/wire/envelope.ts";
import type { BlobRef } from "../../src/wire/frame.ts";
import { partBytes } from "../../src/wire/parts.ts";
import { Folder } from "../support/executable.ts";
import { content, FilesScene, newest, streamOf } from "../support/files-scene.ts";

const bytes = content(2 * partBytes + 5);
let scene: FilesScene;
let mine: Room;
let theirs: Room;
let message: Message;

beforeAll(async () => {
  scene = await FilesScene.start();
  ({ mine, theirs } = await scene.room());
  await mine.sendFile(streamOf(bytes), { name: "plan.txt" });
  message = await newest(theirs);
});
afterAll(() => scene[Symbol.asyncDispose]());
beforeEach(() => scene.way.honest());

/** Fails to read the file of a message in every way, and leaves nothing in the folder. Returns the error's text. */
async function refused(of: Message): Promise<string> {
  using folder = new Folder();
  const file = of.file();
  const failures = await Promise.allSettled([
    file?.bytes(),
    new Response(file?.stream()).bytes(),
    file?.save(folder.file("f")),
  ]);
  const texts = failures.map((one) => (one.status === "rejected" ? String((one.reason as Error).message) : "read"));
  expect(new Set(texts).size).toBe(1);
  expect(readdirSync(folder.path).filter((name) => !name.endsWith(".part"))).toEqual([]);
  return texts[0] ?? "";
}

/** The ciphertexts of the message's file: of its parts, in order. */
async function ciphertexts(): Promise<{ readonly hash: string; readonly body: Buffer }[]> {
  const parts = (await message.file()?.parts()) ?? [];
  return Promise.all(parts.map(async ({ h }) => ({ hash: h, body: Buffer.from(await scene.bob.control.getBlob(h)) })));
}

test("a part that the server exchanges for another one, or alters, is refused with its number", async () => {
  const [first, second, third] = await ciphertexts();
  for (const [lie, part, why] of [
    [second?.body, first, "part 1 of 3: the server returned the wrong blob: wrong_hash"],
    [first?.body, second, "part 2 of 3: the server returned the wrong blob: wrong_hash"],
    [third?.body, second, "part 2 of 3: the server returned the wrong blob: wrong_size"],
    [
      Buffer.concat([third?.body ?? Buffer.alloc(0), Buffer.from("+")]),
      third,
      "part 3 of 3: the server returned the wrong blob",
    ],
  ] as const) {
    scene.way.rewrite((answer, { target }) =>
      target === `/blobs/${part?.hash}` ? { ...answer, body: lie ?? Buffer.alloc(0) } : answer,
    );
    expect(await refused(message)).toContain(why);
  }
  scene.way.rewrite((answer, { target }) =>
    target === `/blobs/${second?.hash}`
      ? { ...answer, body: Buffer.concat([answer.body, Buffer.alloc(100_000)]) }
      : answer,
  );
  expect(await refused(message)).toContain("part 2 of 3: ");
  scene.way.honest();
  expect(await message.file()?.bytes()).toEqual(bytes);
});

test("a part that is gone is named with its number", async () => {
  const [, second] = await ciphertexts();
  await scene.ana.control.releaseBlob(second?.hash ?? "");
  expect(await refused(message)).toContain("part 2 of 3: no such blob");
  await scene.ana.control.putBlob(second?.body ?? Buffer.alloc(0), second?.hash ?? "");
});

test("a manifest that the server cuts short is refused", async () => {
  scene.way.rewrite((answer, { target }) =>
    target === `/blobs/${message.blob?.h}` ? { ...answer, body: answer.body.subarray(0, -60) } : answer,
  );
  expect(await refused(message)).toContain("the server returned the wrong blob: wrong_size");
});

/** Sends a message of kind `file` with any header, as a member without this client's checks does. */
async function say(header: EnvelopeHeader, blob: BlobRef | null = message.blob): Promise<void> {
  const { sender } = partsOf(mine);
  const said = sayingOf(sender.clock, "", { kind: "file" });
  await sender.say({ ...said, b: blob ?? undefined, header: { ...said.header, ...header } }, {});
}

test("a member's file whose stated size or number of parts is wrong is refused before a part is fetched", async () => {
  for (const parts of [
    { size: 2n ** 63n, count: 3 },
    { size: BigInt(bytes.length + 1), count: 3 },
    { size: BigInt(bytes.length), count: 2 },
    { size: 0n, count: 0 },
    { size: BigInt(bytes.length), count: 4_294_967_295 },
  ]) {
    await say({ parts });
    const lie = await newest(theirs);
    const since = scene.way.asked.length;
    const why = await lie
      .file()
      ?.stream()
      .getReader()
      .read()
      .catch((error: Error) => error.message);
    expect(why).toContain("the list of this file's parts does not fit the message");
    expect(scene.count(/^GET \/blobs\//, since)).toBe(1);
    await expect(lie.file()?.bytes()).rejects.toThrow();
  }
});

test("a member's manifest that is one blob of something else is refused", async () => {
  const other = await mine.putBlob(content(180));
  await say({ parts: { size: 148n, count: 3 } }, other.blob);
  expect(await refused(await newest(theirs))).toContain("does not fit the message");
});

test("a message with a name that could be a path, or that reads backwards, is dropped", async () => {
  const before = theirs.stats().dropped.bad_envelope ?? 0;
  const names = ["../../etc/passwd", "a\\b", ".", "..", "invoice\u202efdp.exe", "a\u0007", "", "cafe\u0301"];
  // An unknown field is sent as it is.
  for (const name of names) await say({ unknown: [{ tag: 3, value: Buffer.from(name) }] });
  await theirs.history();
  expect((theirs.stats().dropped.bad_envelope ?? 0) - before).toBe(names.length);
});
