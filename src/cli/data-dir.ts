import { Database } from "bun:sqlite";
import { accessSync, constants, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { isUnibusError, UnibusError } from "../wire/errors.ts";

/** Where a data directory is when nothing names one. */
export const dataDirDefault = "./unibus-data";

/**
 * A running server, in `<data>/serving.json` from when its listeners are open, and in `<data>/ready.json` from when
 * /readyz first answers 200. Source: spec 14.
 */
export interface ServerRecord {
  readonly pid: number;
  readonly version: string;
  readonly http: string;
  readonly nats: string;
  readonly ws: string;
  readonly nats_pid: number | null;
  /** Where people reach it, where that is another URL than `http`. */
  readonly public_url?: string;
}

/** What the system says when a disk takes no more, and what that means. */
const fullDisk: Readonly<Record<string, readonly [why: string, mend: string]>> = {
  ENOSPC: ["the disk is full", "free some space"],
  SQLITE_FULL: ["the disk is full", "free some space"],
  EDQUOT: ["the disk quota is used up", "free some space"],
  EFBIG: ["files may not grow as large as is needed", "see ulimit -f"],
};

function fullDiskError(folder: string, error: unknown): UnibusError | null {
  for (let at = error; at instanceof Error; at = at.cause) {
    // What a plugin has put into words is better than what can be said here.
    if (isUnibusError(at) && at.code !== "internal") return null;
    const [why, mend] = fullDisk[(at as { code?: string }).code ?? ""] ?? [];
    if (why === undefined) continue;
    const message = `data directory ${folder}: ${why} (${mend}, or choose another with --data)`;
    return new UnibusError("invalid", message, { cause: error });
  }
  return null;
}

/** An error of a server on a data directory, in words where the disk takes no more; any other as it is. */
export function dataDirError(folder: string, error: unknown): unknown {
  return fullDiskError(folder, error) ?? error;
}

function unusable(folder: string, error: unknown): UnibusError {
  const message = `data directory ${folder}: it cannot be written (choose another with --data)`;
  return fullDiskError(folder, error) ?? new UnibusError("invalid", message, { cause: error });
}

/** The error for a folder in which there is no bus. */
export function noBus(path: string): UnibusError {
  const hint = "name its data directory with --data, or start a new bus there with unibus serve";
  return new UnibusError("not_found", `there is no bus in ${path} (${hint})`);
}

/** Errors: not_found for a data directory that is not there. */
export function checkDataDir(path: string): void {
  if (!existsSync(path)) throw noBus(path);
}

/** Makes a data directory, for its owner alone. Errors: invalid when it cannot be used. */
export function openDataDir(path: string): string {
  const folder = resolve(path);
  // Whatever is written below is its owner's alone, whichever library writes it.
  process.umask(0o077);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw unusable(folder, error);
  }
  return folder;
}

const servingFile = (folder: string): string => join(folder, "serving.json");
const readyFile = (folder: string): string => join(folder, "ready.json");

/** Whether a server listens for a directory. */
export function isServed(folder: string): boolean {
  return existsSync(servingFile(folder));
}

/** How a directory was served last, which a command on it goes by. */
export interface LastServe {
  readonly flags: Readonly<Record<string, boolean>>;
  /** The absolute path of the plugins file that `--plugins` named, or null. */
  readonly plugins: string | null;
  /** The absolute paths of the plugin files that `--plugin` added. */
  readonly added: readonly string[];
  /** The URL under which people reached it, or null where that is not known. */
  readonly url: string | null;
}

const servedFile = (folder: string): string => join(folder, "served.json");
/** What version 0.1.0 wrote instead: the flags alone. */
const flagsFile = (folder: string): string => join(folder, "flags.json");

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    const hint = "remove it, and name --plugins and --flag as you serve it, until it is served again";
    throw new UnibusError("invalid", `${file} is damaged (${hint})`, { cause: error });
  }
}

/** How a directory was served last. Errors: invalid for a record that is damaged. */
export function lastServe(folder: string): LastServe {
  const nothing: LastServe = { flags: {}, plugins: null, added: [], url: null };
  if (existsSync(servedFile(folder))) return { ...nothing, ...(readJson(servedFile(folder)) as Partial<LastServe>) };
  if (!existsSync(flagsFile(folder))) return nothing;
  return { ...nothing, flags: readJson(flagsFile(folder)) as LastServe["flags"] };
}

function removeRecords(folder: string): void {
  for (const file of [readyFile(folder), servingFile(folder)]) rmSync(file, { force: true });
}

const pidFile = (folder: string): string => join(folder, "serve.pid");

/** Takes a directory: by SQLite's exclusive lock on a file in it, which ends with the process however that ends. */
function lock(folder: string): Database {
  let taken: Database | undefined;
  try {
    taken = new Database(join(folder, "serve.lock"), { create: true });
    taken.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
    removeRecords(folder);
    writeFileSync(pidFile(folder), String(process.pid), { mode: 0o600 });
    return taken;
  } catch (error) {
    taken?.close();
    if ((error as { code?: string }).code !== "SQLITE_BUSY") throw unusable(folder, error);
    const pid = existsSync(pidFile(folder)) ? readFileSync(pidFile(folder), "utf8") : "unknown";
    const mend = "stop it, or choose another directory with --data";
    throw new UnibusError("conflict", `data directory ${folder} is served by process ${pid} (${mend})`);
  }
}

/** A data directory that this process alone serves. */
export class DirectoryLock {
  readonly #folder: string;
  readonly #lock: Database;

  /** Errors: conflict, with the pid of the server that has it; invalid when it cannot be used. */
  constructor(folder: string) {
    this.#folder = folder;
    this.#lock = lock(folder);
  }

  /** Keeps the first admin's link where only the owner of the directory reads it. Gives the file. */
  keepAdminLink(link: string): string {
    const file = join(this.#folder, "admin-link");
    writeFileSync(`${file}.new`, `${link}\n`, { mode: 0o600 });
    renameSync(`${file}.new`, file);
    return file;
  }

  /** Removes the first admin's link. */
  dropAdminLink(): void {
    rmSync(join(this.#folder, "admin-link"), { force: true });
  }

  /** Writes serving.json: the listeners are open. `served` says how, for commands on the host. */
  announceServing(server: ServerRecord, served: LastServe): void {
    // The record first: a command that finds a server goes by it.
    this.#write(servedFile(this.#folder), served);
    rmSync(flagsFile(this.#folder), { force: true });
    this.#write(servingFile(this.#folder), server);
  }

  /** Writes ready.json: every plugin can do its work. */
  announceReady(server: ServerRecord): void {
    this.#write(readyFile(this.#folder), server);
  }

  /** Rewrites those of the two files that are there: something about the server has changed. */
  update(server: ServerRecord): void {
    for (const file of [servingFile(this.#folder), readyFile(this.#folder)]) {
      if (existsSync(file)) this.#write(file, server);
    }
  }

  #write(file: string, value: unknown): void {
    writeFileSync(`${file}.new`, `${JSON.stringify(value)}\n`, { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }

  /** Removes serving.json and ready.json. */
  withdraw(): void {
    removeRecords(this.#folder);
  }

  /** Gives the directory up. */
  release(): void {
    this.withdraw();
    rmSync(pidFile(this.#folder), { force: true });
    this.#lock.close();
  }
}
