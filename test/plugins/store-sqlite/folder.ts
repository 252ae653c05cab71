import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Runs `work` with a database path in a temporary folder, which is removed afterwards. */
export async function withFile<T>(work: (file: string) => T | Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "unibus-sqlite-"));
  try {
    return await work(join(folder, "unibus.db"));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What `work` throws, or an error that says that it succeeded. */
export async function thrownBy(work: () => unknown): Promise<unknown> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  return new Error("it went through");
}
