import { Database } from "bun:sqlite";
import { accessSync, constants, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { UnibusError } from "../wire/errors.ts";

/** Where a data directory is when nothing names one. */
export const dataDirDefault = "./unibus-data";

/** What a server that answers says of itself, in `<data>/ready.json`. Source: spec 14. */
export interface Ready {
  readonly pid: number;
  readonly version: string;
  readonly http: string;
  readonly nats: string;
  readonly ws: string;
  readonly nats_pid: number | null;
  /** Where people reach it, where that is another URL than `http`. */
  readonly public_url?: string;
}

/** Makes a data directory, for its owner alone. Errors: invalid when it cannot be used. */
export function openDataDir(path: string): string {
  const folder = resolve(path);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    const why = (error as { code?: string }).code === "ENOSPC" ? "the disk is full" : "it cannot be written";
    throw new UnibusError("invalid", `data directory ${path}: ${why} (choose another with --data)`, { cause: error });
  }
  return folder;
}

const readyFile = (folder: string): string => join(folder, "ready.json");
const pidFile = (folder: string): string => join(folder, "serve.pid");

/** A data directory that this process alone serves. */
export class DirectoryLock {
  readonly #folder: string;
  readonly #lock: Database;

  /**
   * Takes the directory: SQLite's exclusive lock on a file in it, which ends with the process however it ends.
   * Errors: conflict, with the pid of the server that has it.
   */
  constructor(folder: string) {
    this.#folder = folder;
    this.#lock = new Database(join(folder, "serve.lock"), { create: true });
    try {
      this.#lock.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
    } catch (error) {
      this.#lock.close();
      if ((error as { code?: string }).code !== "SQLITE_BUSY") {
        const message = `data directory ${folder}: it cannot be locked (is the disk full or read-only?)`;
        throw new UnibusError("invalid", message, { cause: error });
      }
      const pid = existsSync(pidFile(folder)) ? readFileSync(pidFile(folder), "utf8") : "unknown";
      const mend = "stop it, or choose another directory with --data";
      throw new UnibusError("conflict", `data directory ${folder} is served by process ${pid} (${mend})`);
    }
    rmSync(readyFile(folder), { force: true });
    writeFileSync(pidFile(folder), String(process.pid), { mode: 0o600 });
  }

  /** Keeps the first admin's link where only the owner of the directory reads it; null takes it away. */
  keepAdminLink(link: string | null): void {
    const file = join(this.#folder, "admin-link");
    rmSync(file, { force: true });
    if (link === null) return;
    writeFileSync(`${file}.new`, `${link}\n`, { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }

  /** Says that everything answers. */
  announce(ready: Ready): void {
    const fresh = `${readyFile(this.#folder)}.new`;
    writeFileSync(fresh, `${JSON.stringify(ready)}\n`, { mode: 0o600 });
    renameSync(fresh, readyFile(this.#folder));
  }

  /** Takes that back. */
  withdraw(): void {
    rmSync(readyFile(this.#folder), { force: true });
  }

  /** Gives the directory up. */
  release(): void {
    this.withdraw();
    rmSync(pidFile(this.#folder), { force: true });
    this.#lock.close();
  }
}
