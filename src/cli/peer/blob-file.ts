import { rename } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { Room, StoredBlob } from "../../client/index.ts";
import { placeFile } from "../../lib/atomic-file.ts";
import { blobBytesMax } from "../../wire/api.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";
import { openNamed } from "../input.ts";
import { Progress } from "../progress.ts";
import { sizeText } from "./message-lines.ts";

/** How often the progress line is updated, in milliseconds. */
const reportEveryMs = 100;

/** Runs a transfer and shows on a terminal how long it has been running. */
async function shown<T>(what: string, work: () => Promise<T>): Promise<T> {
  using progress = new Progress(`${what}, seconds:`);
  const began = performance.now();
  const timer = setInterval(() => progress.report(Math.floor((performance.now() - began) / 1_000)), reportEveryMs);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}

async function contentOf(path: string): Promise<Uint8Array> {
  const { stream, size: known } = path === "-" ? { stream: Bun.stdin.stream(), size: null } : await openNamed(path);
  if (known !== null && known > blobBytesMax) throw tooLarge(path);
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of stream) {
      size += chunk.length;
      if (size > blobBytesMax) throw tooLarge(path);
      chunks.push(chunk);
    }
  } catch (cause) {
    if (isUnibusError(cause)) throw cause;
    const code = String((cause as { code?: unknown }).code);
    throw new UnibusError("invalid", `${path} cannot be read: ${code} (correct the name)`, { cause });
  }
  if (size === 0)
    throw new UnibusError("invalid", `${path === "-" ? "stdin" : path} is empty (name a file with content)`);
  return new Uint8Array(Buffer.concat(chunks));
}

const tooLarge = (path: string): UnibusError =>
  new UnibusError("too_large", `${path} is larger than ${sizeText(blobBytesMax)} (split it)`);

/** Stores a file in a room, encrypted. Errors: invalid for a file that cannot be read; those of `putBlob`. */
export async function putFile(room: Room, path: string, signal: AbortSignal): Promise<StoredBlob> {
  const content = await contentOf(path);
  return shown(`storing ${path}, ${sizeText(content.length)}`, () => room.putBlob(content, signal));
}

/** Fetches and decrypts a blob. Errors: those of `getBlob`. */
export async function fetchBlob(room: Room, named: StoredBlob, signal: AbortSignal): Promise<Uint8Array> {
  return shown(`fetching ${sizeText(named.blob.sz)}`, () => room.getBlob(named, signal));
}

/** Writes a file completely or not at all, replacing an existing one. Errors: invalid. */
export async function writeWhole(path: string, content: Uint8Array): Promise<void> {
  try {
    await placeFile(dirname(resolve(path)), content, (draft) => rename(draft, path));
  } catch (cause) {
    const code = String((cause as { code?: unknown }).code);
    throw new UnibusError("invalid", `${path} cannot be written: ${code} (name another with --out)`, { cause });
  }
}
