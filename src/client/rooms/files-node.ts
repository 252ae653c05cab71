/**
 * Files on disk, for Bun and Node. Imported as `#files` there.
 *
 * A download is written to a hidden file beside its target, which gets the target's name at the end. If it is
 * interrupted, that file stays, and the next download of the same file to the same path continues it. Its content is
 * not trusted: it is encrypted again, part by part, and counts as far as the hashes are those that the sender named.
 */
import { constants } from "node:fs";
import { type FileHandle, link, lstat, open, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { syncFolder } from "../../lib/atomic-file.ts";
import { free } from "../../lib/free.ts";
import { fromBase64, sha256Hex } from "../../wire/encoding.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";
import type { BlobRef } from "../../wire/frame.ts";
import { type BlobRoom, sealBlobUnder, sealBytes } from "../crypto/sealing.ts";
import type { FileSaveOptions, ReceivedFile } from "./file-receiving.ts";
import type { FileSource } from "./file-source.ts";

/** How much of a file is read at once, in bytes. */
const readBytes = 1_048_576;
/** How many digits of a hash are in the name of an unfinished download. */
const hashLength = 24;

const codeOf = (error: unknown): string => String((error as { code?: unknown } | null)?.code ?? error);

const existsError = (path: string) =>
  new UnibusError("conflict", `${path} exists (choose another name, or overwrite it)`);

/** Checks that a download may have this name. Errors: conflict if it is taken; invalid unless a file has it. */
async function checkTarget(path: string, shown: string, overwrite: boolean): Promise<void> {
  if ((await lstat(path).catch(() => null)) === null) return;
  if (!overwrite) throw existsError(shown);
  // A rename would replace a device or a pipe.
  const found = await stat(path).catch(() => null);
  if (found === null || found.isFile()) return;
  throw new UnibusError("invalid", `${shown} is a folder, a device or a pipe (name a file)`);
}

/** The chunks of a file, each valid until the next one is requested. */
async function* chunksOf(file: FileHandle): AsyncGenerator<Uint8Array, void> {
  const buffer = new Uint8Array(readBytes);
  for (;;) {
    const { bytesRead } = await file.read(buffer, 0, readBytes, null);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}

async function* read(path: string): AsyncGenerator<Uint8Array, void> {
  try {
    const file = await open(path);
    try {
      yield* chunksOf(file);
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new UnibusError("invalid", `${path} cannot be read: ${codeOf(cause)} (check its permissions)`, { cause });
  }
}

/** The file at a path, which may also be a pipe or a device. Errors: not_found; invalid for a folder. */
export async function openPath(path: string): Promise<FileSource> {
  const found = await stat(path).catch((cause: unknown) => {
    if (codeOf(cause) === "ENOENT") throw new UnibusError("not_found", `no such file: ${path} (correct the name)`);
    throw new UnibusError("invalid", `${path} cannot be read: ${codeOf(cause)} (check its permissions)`, { cause });
  });
  if (found.isDirectory()) throw new UnibusError("invalid", `${path} is a folder (name a file)`);
  const isFile = found.isFile();
  // The kernel's files under /proc have content, but no size.
  const size = (isFile && found.size) || null;
  return { name: basename(path), mediaType: null, size, isRepeatable: isFile, open: () => read(path) };
}

/**
 * Opens an unfinished download, or begins one. It must be this user's own file: in a folder that others can write to,
 * it could be a link to another file.
 */
async function openDraft(path: string): Promise<FileHandle> {
  const flags = constants.O_RDWR | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0);
  const draft = await open(path, flags, 0o600);
  const { nlink, uid } = await draft.stat();
  if (nlink === 1 && uid === (process.getuid?.() ?? uid)) return draft;
  await draft.close();
  throw new UnibusError("invalid", `${path} is not an unfinished download of this user (remove it)`);
}

/** How many parts an unfinished download has, from the beginning, and their size in bytes. */
async function partsIn(draft: FileHandle, parts: readonly BlobRef[], room: BlobRoom, signal?: AbortSignal) {
  const { size } = await draft.stat();
  let [count, bytes] = [0, 0];
  for (const { h, n, sz } of parts) {
    signal?.throwIfAborted();
    // A file that is one blob may be stated as smaller than any blob is.
    if (sz < sealBytes || bytes + sz - sealBytes > size) break;
    const plain = new Uint8Array(sz - sealBytes);
    for (let at = 0; at < plain.length; ) {
      const { bytesRead } = await draft.read(plain, at, plain.length - at, bytes + at);
      if (bytesRead === 0) break;
      at += bytesRead;
    }
    if ((await sealBlobUnder(fromBase64(n) as Uint8Array, plain, room)).ref.h !== h) break;
    count += 1;
    bytes += plain.length;
  }
  return { count, bytes };
}

async function write(draft: FileHandle, chunk: Uint8Array, place: number): Promise<void> {
  for (let at = 0; at < chunk.length; ) {
    at += (await draft.write(chunk, at, chunk.length - at, place + at)).bytesWritten;
  }
}

/** Gives a finished download its name. Errors: conflict if there is such a file, unless it may be overwritten. */
async function place(draft: string, path: string, overwrite: boolean): Promise<void> {
  if (!overwrite) {
    try {
      await link(draft, path);
      return await rm(draft);
    } catch (error) {
      if (codeOf(error) === "EEXIST") throw existsError(path);
      // Another program has finished this download.
      if (codeOf(error) === "ENOENT" && (await lstat(path).catch(() => null)) !== null) throw existsError(path);
      if (codeOf(error) === "ENOENT") throw error;
      // Some file systems have no links.
      await (await open(path, "wx", 0o600)).close();
    }
  }
  await rename(draft, path);
}

/** Writes a file: see `ReceivedFile.save`. */
export async function saveFile(
  file: ReceivedFile,
  roomOf: () => Promise<BlobRoom>,
  path: string,
  { overwrite = false, onProgress, signal }: FileSaveOptions,
): Promise<void> {
  const target = resolve(path);
  await checkTarget(target, path, overwrite);
  const [parts, room] = await Promise.all([file.parts(signal), roomOf()]);
  const id = sha256Hex(`${basename(target)}\n${file.hash}`).slice(0, hashLength);
  const draft = join(dirname(target), `.unibus-${id}.part`);
  let [bytes, isWhole] = [0, false];
  try {
    const handle = await openDraft(draft);
    try {
      const had = await partsIn(handle, parts, room, signal);
      bytes = had.bytes;
      for await (const chunk of file.chunks({ from: had.count, onProgress, signal })) {
        await write(handle, chunk, bytes);
        bytes += chunk.length;
        free(chunk);
      }
      await handle.truncate(bytes);
      await handle.sync();
      isWhole = true;
    } finally {
      await handle.close();
      if (bytes === 0 && !isWhole) await rm(draft, { force: true }).catch(() => undefined);
    }
    await place(draft, target, overwrite);
    await syncFolder(dirname(target));
  } catch (error) {
    if (isUnibusError(error) || typeof (error as { syscall?: unknown } | null)?.syscall !== "string") throw error;
    const what = `${path} cannot be written: ${codeOf(error)} (choose another path)`;
    throw new UnibusError("invalid", what, { cause: error });
  }
}
