/** Writes files completely or not at all: a reader or a crash never sees half of one. */
import { randomUUID } from "node:crypto";
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";

/** Replaces a file, or creates it, readable by its owner only. Errors: those of the file system. */
export function replaceFile(file: string, text: string): void {
  const draft = `${file}.${randomUUID()}.new`;
  try {
    const fd = openSync(draft, "wx", 0o600);
    try {
      writeFileSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(draft, file);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

/**
 * Writes a complete file under a temporary name in a folder, readable by its owner only; then `place` gives it its
 * name, by a rename or a link. Errors: those of the file system and of `place`; no temporary file is left.
 */
export async function placeFile(
  folder: string,
  content: string | Uint8Array,
  place: (draft: string) => Promise<void>,
): Promise<void> {
  const draft = join(folder, `.${randomUUID()}.new`);
  try {
    const handle = await open(draft, "wx", 0o600);
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await place(draft);
    await syncFolder(folder);
  } finally {
    await rm(draft, { force: true });
  }
}

/** Syncs a folder, so that new names in it survive a power failure. Some systems do not support or need it. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder).catch(() => null);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}
