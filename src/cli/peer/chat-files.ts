/** Files in a chat. */
import { link } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import type { Message, Room, SendOptions, Sent } from "../../client/index.ts";
import { placeFile } from "../../lib/atomic-file.ts";
import { UnibusError } from "../../wire/errors.ts";
import { contentOf } from "./blob-file.ts";

/** Resolves a path as a person types it or drops it onto a terminal: with `~/`, in quotes, or with escaped spaces. */
export function typedPath(text: string): string {
  const found = /^(?:'([^']+)'|"([^"]+)")$/.exec(text);
  const path = found?.[1] ?? found?.[2] ?? text.replaceAll("\\ ", " ");
  if (path === "-") return "./-";
  return path.startsWith("~/") ? join(homedir(), path.slice(2)) : path;
}

/** Sends a file to a room. Errors: invalid for a file that cannot be read; too_large; those of `putBlob` and `send`. */
export async function sendFile(room: Room, path: string, options: SendOptions): Promise<Sent> {
  const content = await contentOf(path);
  const blob = await room.putBlob(content, options.signal);
  return room.send("", { ...options, kind: "file", blob, fileName: basename(path) });
}

/**
 * Writes the file of a message, completely or not at all. Returns its size.
 * Errors: conflict for a file that exists; invalid for one that cannot be written; those of `getBlob`.
 */
export async function saveFile(room: Room, message: Message, path: string, signal: AbortSignal): Promise<number> {
  const { blob, epoch } = message;
  if (blob === null) throw new UnibusError("invalid", "this message has no file");
  const content = await room.getBlob({ blob, epoch }, signal);
  try {
    await placeFile(dirname(resolve(path)), content, (draft) => link(draft, path));
  } catch (cause) {
    const code = String((cause as { code?: unknown }).code);
    if (code === "EEXIST") throw new UnibusError("conflict", `${path} exists already (choose another name)`);
    throw new UnibusError("invalid", `${path} cannot be written: ${code} (choose another name)`, { cause });
  }
  return content.length;
}
