/** Files in a chat, with their progress in the status line. */
import { homedir } from "node:os";
import { basename, join } from "node:path";
import type { FileProgress, Message, Room, SendOptions, Sent } from "../../client/index.ts";
import { hasCode, UnibusError } from "../../wire/errors.ts";
import { openNamed } from "../input.ts";
import { sizeText } from "./message-lines.ts";

/** Shows how far a transfer is; null at its end. */
export type ShowProgress = (text: string | null) => void;

/** Resolves a path as a person types it or drops it onto a terminal: with `~/`, in quotes, or with escaped spaces. */
export function typedPath(text: string): string {
  const found = /^(?:'([^']+)'|"([^"]+)")$/.exec(text);
  const path = found?.[1] ?? found?.[2] ?? text.replaceAll("\\ ", " ");
  if (path === "-") return "./-";
  return path.startsWith("~/") ? join(homedir(), path.slice(2)) : path;
}

/** Runs a transfer and shows how far it is. */
async function transfer<T>(
  what: string,
  show: ShowProgress,
  work: (onProgress: (progress: FileProgress) => void) => Promise<T>,
): Promise<T> {
  show(what);
  try {
    return await work(({ done, total }) =>
      show(`${what} ${total ? `${Math.floor((100 * done) / total)} %` : sizeText(done)}`),
    );
  } finally {
    show(null);
  }
}

/** Sends a file to a room. Errors: invalid for a file that is empty or cannot be read; those of `room.sendFile`. */
export async function sendFile(room: Room, path: string, options: SendOptions, show: ShowProgress): Promise<Sent> {
  const { size } = await openNamed(path);
  if (size === null) throw new UnibusError("invalid", `${path} is not a regular file (use unibus file send)`);
  if (size === 0) throw new UnibusError("invalid", `${path} is empty (name a file with content)`);
  const mediaType = Bun.file(path).type;
  return transfer(`sending ${basename(path)}`, show, (onProgress) => {
    return room.sendFile(path, { ...options, mediaType, onProgress });
  });
}

/**
 * Writes the file of a message, completely or not at all. The same call goes on after an interruption.
 * Returns its size. Errors: conflict for a file that exists; those of `save`.
 */
export async function saveFile(
  message: Message,
  path: string,
  { signal, show }: { readonly signal: AbortSignal; readonly show: ShowProgress },
): Promise<number> {
  const file = message.file();
  if (file === null) throw new UnibusError("invalid", "this message has no file");
  try {
    await transfer(`saving ${basename(path)}`, show, (onProgress) => file.save(path, { signal, onProgress }));
  } catch (error) {
    if (!hasCode(error, "conflict")) throw error;
    throw new UnibusError("conflict", `${path} exists already (choose another name)`, { cause: error });
  }
  return file.size;
}
