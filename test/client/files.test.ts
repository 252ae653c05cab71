/**
 * Files of a room: sent as one blob or in parts, read as bytes, as a stream or to a path, continued after an
 * interruption, and deleted. On a real bus. Source: docs/protocol/envelope.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import type { FileProgress } from "../../src/client/index.ts";
import { partBytes } from "../../src/wire/parts.ts";
import { Folder } from "../support/executable.ts";
import { content, FilesScene, newest, streamOf } from "../support/files-scene.ts";

let scene: FilesScene;
beforeAll(async () => {
  scene = await FilesScene.start();
});
afterAll(() => scene[Symbol.asyncDispose]());

const blobPosts = /^POST \/blobs$/;
const blobGets = /^GET \/blobs\//;

describe("a file", () => {
  test("of known size up to 16 MiB is one blob", async () => {
    const { mine, theirs } = await scene.room();
    const bytes = content(2 * partBytes + 1);
    const file = new File([bytes], "cafe\u0301.png", { type: "image/png" });
    await mine.sendFile(file, { caption: "a picture", hops: 1 });
    const message = await newest(theirs);
    expect([message.kind, message.text, message.hops]).toEqual(["file", "a picture", 1]);
    expect(message.header.parts).toBeUndefined();
    const got = message.file();
    expect([got?.name, got?.mediaType, got?.size]).toEqual(["café.png", "image/png", bytes.length]);
    expect(await got?.bytes()).toEqual(bytes);
    await mine.send("no file");
    expect((await newest(theirs)).file()).toBeNull();
  });

  test("may be empty", async () => {
    const { mine, theirs } = await scene.room();
    await mine.sendFile(new File([], "empty"));
    expect(await (await newest(theirs)).file()?.bytes()).toEqual(new Uint8Array());
  });

  test("above 16 MiB is sent in parts of 2 MiB, and deleted with all of them", async () => {
    const { mine, theirs } = await scene.room();
    using folder = new Folder();
    const bytes = content(17 * 1_048_576);
    writeFileSync(folder.file("large.bin"), bytes);
    const before = await scene.charged();
    const sent: FileProgress[] = [];
    await mine.sendFile(folder.file("large.bin"), { onProgress: (progress) => void sent.push(progress) });
    const message = await newest(theirs);
    expect([message.fileName, message.header.parts]).toEqual(["large.bin", { size: 17_825_792n, count: 9 }]);
    expect(sent.at(-1)).toEqual({ done: bytes.length, total: bytes.length });
    const file = message.file();
    const read: FileProgress[] = [];
    const target = folder.file("copy.bin");
    await file?.save(target, { onProgress: (progress) => void read.push(progress) });
    expect(readFileSync(target).equals(bytes)).toBe(true);
    expect([statSync(target).mode & 0o777, readdirSync(folder.path).length]).toEqual([0o600, 2]);
    expect(read.map(({ done }) => done)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 8.5].map((n) => n * partBytes));
    await expect(file?.bytes({ max: 17_825_791 })).rejects.toMatchObject({ code: "too_large" });

    const parts = (await file?.parts()) ?? [];
    const since = scene.way.asked.length;
    await mine.delete(message);
    // The message goes last: after an interruption, a repeated call finds the parts that are left.
    const deletions = scene.way.asked.slice(since).filter((one) => one.startsWith("DELETE "));
    expect([deletions.length, deletions.at(-1)]).toEqual([11, expect.stringMatching(/^DELETE \/rooms\//)]);
    for (const blob of [message.blob, ...parts]) {
      await expect(theirs.getBlob({ blob, epoch: 1 })).rejects.toMatchObject({ code: "not_found" });
    }
    expect(await scene.charged()).toBe(before);
  });

  test("from a stream of unknown size is read part by part, from any part", async () => {
    const { mine, theirs } = await scene.room();
    const bytes = content(2 * partBytes + 1);
    await mine.sendFile(streamOf(bytes), { name: "log", mediaType: "text/plain" });
    const file = (await newest(theirs)).file();
    expect([file?.name, file?.mediaType, file?.size]).toEqual(["log", "text/plain", bytes.length]);
    expect(() => file?.chunks({ from: -1 })).toThrow("option from must be");
    await expect(file?.save("x", { overwrite: "yes" } as never)).rejects.toThrow("option overwrite must be true or");
    const chunks = await Array.fromAsync(file?.chunks({ from: 1 }) ?? []);
    expect(Buffer.concat(chunks).equals(bytes.subarray(partBytes))).toBe(true);
    expect(await new Response(file?.stream()).bytes()).toEqual(bytes);
  });

  test("has at most two parts on their way, up and down", async () => {
    const { mine, theirs } = await scene.room();
    let [flying, most] = [0, 0];
    const isPart = (target: string) => target.startsWith("/blobs");
    scene.way.pretend(({ target }) => {
      if (isPart(target)) most = Math.max(most, ++flying);
      return null;
    });
    scene.way.rewrite(async (answer, { target }) => {
      if (!isPart(target)) return answer;
      // Long enough for a client without a limit to begin more.
      await Bun.sleep(50);
      flying -= 1;
      return answer;
    });
    await mine.sendFile(streamOf(content(5 * partBytes)));
    expect(most).toBe(2);
    most = 0;
    expect((await (await newest(theirs)).file()?.bytes())?.length).toBe(5 * partBytes);
    expect(most).toBe(2);
    scene.way.honest();
  });

  test("survives broken connections and a server that is too busy", async () => {
    const { mine, theirs } = await scene.room();
    const bytes = content(partBytes + 1);
    let broken = 0;
    const busy = Buffer.from(JSON.stringify({ error: "too many requests (wait)", code: "rate_limited" }));
    scene.way.rewrite((answer, { target }) => {
      if (!target.startsWith("/blobs") || broken === 4) return answer;
      broken += 1;
      return broken === 4 ? { ...answer, status: 429, headers: { "retry-after": "0" }, body: busy } : null;
    });
    await mine.sendFile(streamOf(bytes));
    expect(broken).toBe(4);
    broken = 0;
    expect(await (await newest(theirs)).file()?.bytes()).toEqual(bytes);
    expect(broken).toBe(4);
    scene.way.honest();
  }, 30_000);

  test("that cannot be sent leaves nothing on the server", async () => {
    const { mine } = await scene.room();
    const before = await scene.charged();
    const bytes = content(3 * partBytes);
    const failing = streamOf(bytes, (at) => {
      if (at > 2 * partBytes) throw new Error("the disk broke");
    });
    await expect(mine.sendFile(failing)).rejects.toThrow("the disk broke");
    const stop = new AbortController();
    const stopped = mine.sendFile(streamOf(bytes), { signal: stop.signal, onProgress: () => stop.abort() });
    await expect(stopped).rejects.toMatchObject({ name: "AbortError" });
    await expect(mine.sendFile(streamOf(bytes), { size: bytes.length + 1 })).rejects.toMatchObject({ code: "invalid" });
    expect(await scene.charged()).toBe(before);
    expect((await mine.history()).messages).toEqual([]);
  });

  test("is sent again if the room's key changes during the upload; a stream cannot be", async () => {
    const { mine, theirs } = await scene.room();
    const before = await scene.charged();
    const bytes = content(17 * 1_048_576);
    let rekeyed: Promise<unknown> | null = null;
    const onProgress = () => {
      rekeyed ??= mine.membership.rekey();
    };
    const since = scene.way.asked.length;
    await mine.sendFile(new Blob([bytes]), { onProgress });
    await rekeyed;
    const message = await newest(theirs);
    expect(message.epoch).toBe(2);
    expect(scene.count(blobPosts, since)).toBeGreaterThan(10);
    const file = message.file();
    expect(Buffer.from((await file?.bytes()) ?? []).equals(bytes)).toBe(true);
    const stored = [message.blob, ...((await file?.parts()) ?? [])].reduce((sum, blob) => sum + (blob?.sz ?? 0), 0);
    // A small blob costs 4 KiB.
    expect((await scene.charged()) - before).toBe(stored - (message.blob?.sz ?? 0) + 4_096);

    const streaming = mine.sendFile(
      streamOf(content(3 * partBytes), async (at) => void (at === 2 * partBytes && (await mine.membership.rekey()))),
    );
    await expect(streaming).rejects.toMatchObject({ code: "conflict" });
    expect((await scene.charged()) - before).toBe(stored - (message.blob?.sz ?? 0) + 4_096);
  }, 30_000);

  test("with options or a name that no message may have is refused before anything is sent", async () => {
    const { mine } = await scene.room();
    const since = scene.way.asked.length;
    for (const name of ["../passwd", "a/b", "a\\b", "..", "\u202egnp.exe", "a\u0000", "é".repeat(128)]) {
      await expect(mine.sendFile(new Blob(["x"]), { name })).rejects.toMatchObject({ code: "invalid" });
      await expect(mine.sendFile(new File(["x"], name))).rejects.toMatchObject({ code: "invalid" });
    }
    await expect(mine.sendFile(new Blob(["x"]), { mediaType: "ü" })).rejects.toMatchObject({ code: "invalid" });
    await expect(mine.sendFile(new Blob(["x"]), { fileName: "x" } as never)).rejects.toThrow("unknown option");
    await expect(mine.sendFile(42 as never)).rejects.toThrow("must be a path, a Blob or a ReadableStream");
    await expect(mine.sendFile(import.meta.dir)).rejects.toThrow("is a folder");
    await expect(mine.sendFile("absent")).rejects.toMatchObject({ code: "not_found" });
    const plain = await scene.ana.createRoom("room.unencrypted-files", {
      encrypt: false,
      persist: true,
      sign_msgs: true,
    });
    await expect(plain.sendFile(new Blob(["x"]))).rejects.toThrow("not encrypted");
    expect(scene.count(blobPosts, since)).toBe(0);
  });
});

describe("an interrupted download", () => {
  const bytes = content(3 * partBytes);

  /** Begins a download and stops it after the first part. Returns how to call it again. */
  async function interrupted(folder: Folder) {
    const { mine, theirs } = await scene.room();
    await mine.sendFile(streamOf(bytes));
    const file = (await newest(theirs)).file();
    const target = folder.file("got");
    const stop = new AbortController();
    const saving = file?.save(target, { signal: stop.signal, onProgress: () => stop.abort() });
    await expect(saving).rejects.toMatchObject({ name: "AbortError" });
    const [draft = ""] = readdirSync(folder.path);
    expect([existsSync(target), draft]).toEqual([false, expect.stringMatching(/^\.unibus-[0-9a-f]{24}\.part$/)]);
    return { target, draft: folder.file(draft), save: () => file?.save(target) };
  }

  test("continues after the parts that are there", async () => {
    using folder = new Folder();
    const { target, save } = await interrupted(folder);
    const since = scene.way.asked.length;
    await save();
    expect(readFileSync(target).equals(bytes)).toBe(true);
    // Only the other two parts.
    expect(scene.count(blobGets, since)).toBe(2);
    expect(readdirSync(folder.path)).toEqual(["got"]);
    await expect(save()).rejects.toMatchObject({ code: "conflict" });
  });

  test("does not trust what is there", async () => {
    using folder = new Folder();
    const { target, draft, save } = await interrupted(folder);
    const altered = readFileSync(draft);
    altered[7] = (altered[7] ?? 0) ^ 1;
    writeFileSync(draft, Buffer.concat([altered, content(4 * partBytes)]));
    await save();
    expect(readFileSync(target).equals(bytes)).toBe(true);
  });

  test("follows no link that another user planted", async () => {
    using folder = new Folder();
    const { draft, save } = await interrupted(folder);
    using elsewhere = new Folder();
    const victim = elsewhere.file("victim");
    writeFileSync(victim, "precious");
    rmSync(draft);
    symlinkSync(victim, draft);
    await expect(save()).rejects.toMatchObject({ code: "invalid" });
    expect(readFileSync(victim, "utf8")).toBe("precious");
  });

  test("replaces files only, never a folder or a pipe", async () => {
    using folder = new Folder();
    const { mine, theirs } = await scene.room();
    await mine.sendFile(new Blob(["small"]));
    const file = (await newest(theirs)).file();
    const [kept, pipe] = [folder.file("kept"), folder.file("pipe")];
    mkdirSync(kept);
    execFileSync("mkfifo", [pipe]);
    for (const path of [kept, pipe])
      await expect(file?.save(path, { overwrite: true })).rejects.toMatchObject({ code: "invalid" });
    expect([statSync(pipe).isFIFO(), readdirSync(folder.path).sort()]).toEqual([true, ["kept", "pipe"]]);
  });

  test("refuses a blob that is stated as smaller than any blob is", async () => {
    using folder = new Folder();
    const { mine, theirs } = await scene.room();
    const { blob, epoch } = await mine.putBlob(new Uint8Array(1));
    for (const sz of [0, 15]) {
      await mine.send("tiny", { kind: "file", blob: { blob: { ...blob, sz }, epoch } });
      const saving = (await newest(theirs)).file()?.save(folder.file("tiny"));
      await expect(saving).rejects.toMatchObject({ code: "invalid" });
      expect(readdirSync(folder.path)).toEqual([]);
    }
  });
});
