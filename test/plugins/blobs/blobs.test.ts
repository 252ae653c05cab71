/** Blobs on a disk: the common promises of blob stores, and recovery from crashes and odd files in the folder. */
import { describe, expect, test } from "bun:test";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { blobBytesMin } from "../../../src/contracts/blobs.ts";
import disk from "../../../src/plugins/blobs-disk/index.ts";
import { blobCases } from "./cases.ts";
import { bytesOf, contextOf, hashOf, type OpenBlobs, pieces, Shelf } from "./shelf.ts";

/** Paths of all files below a folder. */
function filesIn(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const found = readdirSync(folder, { recursive: true, withFileTypes: true });
  return found.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
}

/** Opens the blobs in a folder as a server does. */
async function openDisk(path = mkdtempSync(join(tmpdir(), "unibus-blobs-"))): Promise<OpenBlobs & { path: string }> {
  const { services, start } = await disk.setup(contextOf(path, {}), {});
  await start?.();
  const drafts = () => filesIn(join(path, "blobs", "incoming"));
  return {
    path,
    store: services.blobs,
    leftovers: async () => drafts(),
    underWay: async () => drafts().reduce((sum, file) => sum + statSync(file).size, 0),
    again: () => openDisk(path),
    close: () => rmSync(path, { recursive: true, force: true }),
  };
}

blobCases("blobs-disk", () => openDisk());

describe("on the disk", () => {
  test("a blob is readable by its owner only", async () => {
    const blobs = await openDisk();
    await using shelf = await Shelf.open(blobs);
    await shelf.post("ana", pieces(bytesOf(1)));
    const files = filesIn(join(blobs.path, "blobs"));
    expect(files).toHaveLength(2);
    for (const file of files) expect(statSync(file).mode & 0o077).toBe(0);
    expect(statSync(join(blobs.path, "blobs", "incoming")).mode & 0o077).toBe(0);
  });

  test("a starting server removes files of interrupted uploads only; a command beside it removes none", async () => {
    const blobs = await openDisk();
    await using shelf = await Shelf.open(blobs);
    const kept = bytesOf(1);
    await shelf.post("ana", pieces(kept));
    const draft = join(blobs.path, "blobs", "incoming", "half");
    writeFileSync(draft, bytesOf(2));
    await disk.setup(contextOf(blobs.path, {}), {});
    expect(existsSync(draft)).toBe(true);
    await using again = await Shelf.open(await blobs.again());
    expect(existsSync(draft)).toBe(false);
    expect(filesIn(join(blobs.path, "blobs"))).toHaveLength(2);
    expect((await again.get(hashOf(kept)))?.bytes).toEqual(kept);
  });

  test("after a crash between charge and rename the same blob completes the upload, charged once", async () => {
    const blobs = await openDisk();
    await using shelf = await Shelf.open(blobs);
    const bytes = bytesOf(1, 4_000);
    const hash = hashOf(bytes);
    const folder = join(blobs.path, "blobs", "by-owner", "ana");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, hash), bytes);
    expect(await shelf.get(hash)).toBeNull();
    expect(await Array.fromAsync(shelf.store.list())).toEqual([]);
    expect((await shelf.post("ana", pieces(bytes))).status).toBe(201);
    expect(await shelf.store.bytesOf("ana")).toBe(blobBytesMin);
    expect((await shelf.get(hash))?.bytes).toEqual(bytes);
  });

  test("a copy of the folder that broke the links keeps a blob until the last claim ends", async () => {
    const blobs = await openDisk();
    await using shelf = await Shelf.open(blobs);
    const bytes = bytesOf(1, 5_000);
    for (const owner of ["ana", "bo"]) await shelf.post(owner, pieces(bytes));
    const folder = join(blobs.path, "blobs");
    cpSync(folder, `${folder}-copy`, { recursive: true });
    rmSync(folder, { recursive: true });
    renameSync(`${folder}-copy`, folder);
    await using again = await Shelf.open(await blobs.again());
    expect(await again.release("ana", hashOf(bytes))).toBe("released");
    expect((await again.get(hashOf(bytes)))?.bytes).toEqual(bytes);
    expect(await again.release("bo", hashOf(bytes))).toBe("released");
    expect(filesIn(folder)).toEqual([]);
  });

  test("a deletion that a crash interrupted is completed by the next one", async () => {
    const blobs = await openDisk();
    await using shelf = await Shelf.open(blobs);
    const hash = hashOf(bytesOf(1));
    await shelf.post("ana", pieces(bytesOf(1)));
    rmSync(join(blobs.path, "blobs", "by-hash", hash.slice(0, 2), hash));
    expect(await shelf.get(hash)).toBeNull();
    expect(await shelf.release("ana", hash)).toBe("released");
    expect(await shelf.store.bytesOf("ana")).toBe(0);
    expect(filesIn(join(blobs.path, "blobs"))).toEqual([]);
  });

  test("a folder that cannot be written makes uploads unavailable, with a fix and without any path", async () => {
    const blobs = await openDisk();
    await using shelf = await Shelf.open(blobs);
    rmSync(join(blobs.path, "blobs"), { recursive: true });
    writeFileSync(join(blobs.path, "blobs"), "in the way");
    const posted = await shelf.post("ana", pieces(bytesOf(1)));
    expect(posted).toMatchObject({
      status: "unavailable",
      message: "the server cannot store the blob (see the server's log)",
    });
    expect(readFileSync(join(blobs.path, "blobs"), "utf8")).toBe("in the way");
  });
});
