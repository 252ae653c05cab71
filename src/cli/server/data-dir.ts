/**
 * The data directory of a server: its lock, and the files that describe the running server.
 * One server at a time holds the lock. While its listeners are open there is serving.json, and once /readyz has
 * answered 200 there is ready.json; both are removed at stop. served.json outlives the server, so that host commands
 * use the same flags and plugins. serve.ts and host.ts use this.
 */
import { Database } from "bun:sqlite";
import { accessSync, constants, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { replaceFile } from "../../lib/atomic-file.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";

/** Default data directory. */
export const dataDirDefault = "./unibus-data";

/**
 * The description of a running server: in `<data>/serving.json` while its listeners are open, and in
 * `<data>/ready.json` once /readyz has answered 200.
 */
export interface ServerRecord {
  readonly pid: number;
  readonly version: string;
  readonly http: string;
  readonly nats: string;
  readonly ws: string;
  readonly nats_pid: number | null;
  /** The public URL, if it differs from `http`. */
  readonly public_url?: string;
}

/** Error codes of a full disk, with an explanation and a fix. */
const fullDisk: Readonly<Record<string, readonly [why: string, hint: string]>> = {
  ENOSPC: ["the disk is full", "free some space"],
  SQLITE_FULL: ["the disk is full", "free some space"],
  EDQUOT: ["the disk quota is used up", "free some space"],
  EFBIG: ["the limit of the file size is too low", "see ulimit -f"],
};

/** Error codes of a file that may not be written. */
const readOnly: ReadonlySet<unknown> = new Set(["EACCES", "EPERM", "EROFS"]);

/** Explains an error about a file of the directory that may not be written, whichever plugin met it. */
function readOnlyError(folder: string, error: unknown): UnibusError | null {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (isUnibusError(at) && at.code !== "internal") return null;
    const { code, path } = at as { code?: unknown; path?: unknown };
    if (!readOnly.has(code) || typeof path !== "string" || !resolve(path).startsWith(`${folder}/`)) continue;
    const hint =
      "make the directory and all in it writable for the user who runs unibus, or choose another with --data";
    return new UnibusError("invalid", `${path} cannot be written: ${String(code)} (${hint})`, { cause: error });
  }
  return null;
}

function fullDiskError(folder: string, error: unknown): UnibusError | null {
  for (let at = error; at instanceof Error; at = at.cause) {
    // The plugin's own message is more precise.
    if (isUnibusError(at) && at.code !== "internal") return null;
    const [why, hint] = fullDisk[(at as { code?: string }).code ?? ""] ?? [];
    if (why === undefined) continue;
    const message = `data directory ${folder}: ${why} (${hint}, or choose another with --data)`;
    return new UnibusError("invalid", message, { cause: error });
  }
  return null;
}

/**
 * Explains an error of a server if the disk is full, or a file of the directory may not be written. Returns any other
 * error unchanged.
 */
export function dataDirError(folder: string, error: unknown): unknown {
  return fullDiskError(folder, error) ?? readOnlyError(folder, error) ?? error;
}

function unusable(folder: string, error: unknown): UnibusError {
  const message = `data directory ${folder}: it cannot be written (choose another with --data)`;
  return fullDiskError(folder, error) ?? new UnibusError("invalid", message, { cause: error });
}

/** The error for a directory without a bus. */
export function noBus(path: string): UnibusError {
  const hint = "name its data directory with --data, or start a new bus there with unibus serve";
  return new UnibusError("not_found", `there is no bus in ${path} (${hint})`);
}

/** Checks that a data directory exists. Errors: not_found. */
export function checkDataDir(path: string): void {
  if (!existsSync(path)) throw noBus(path);
}

/** Creates a data directory that only its owner can access. Errors: invalid if it cannot be used. */
export function openDataDir(path: string): string {
  const folder = resolve(path);
  // Everything written below is private to the owner, whichever library writes it.
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

/** Whether a server is running on the directory. */
export function isServed(folder: string): boolean {
  return existsSync(servingFile(folder));
}

/** The settings with which a directory was last served. Host commands reuse them. */
export interface LastServe {
  readonly flags: Readonly<Record<string, boolean>>;
  /** The absolute path of the file given by `--plugins`, or null. */
  readonly plugins: string | null;
  /** The absolute paths of the plugin files given by `--plugin`. */
  readonly added: readonly string[];
  /** The URL at which the bus was reachable, or null if it is not known. */
  readonly url: string | null;
}

const servedFile = (folder: string): string => join(folder, "served.json");
/** Version 0.1.0 wrote only the flags. */
const flagsFile = (folder: string): string => join(folder, "flags.json");

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    const hint = "remove it, and add the --plugins and --flag options of unibus serve, until the next start";
    throw new UnibusError("invalid", `${file} is damaged (${hint})`, { cause: error });
  }
}

/** Reads how a directory was last served. Errors: invalid for a damaged record. */
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

/** Locks a directory with SQLite's exclusive lock on a file, which ends with the process however that dies. */
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
    const hint = "stop it, or choose another directory with --data";
    throw new UnibusError("conflict", `data directory ${folder} is served by process ${pid} (${hint})`);
  }
}

/** A data directory that only this process serves. */
export class DirectoryLock {
  readonly #folder: string;
  readonly #lock: Database;
  readonly #inode: number;

  /** Takes the lock. Errors: conflict, with the pid of the server that holds it; invalid if it cannot be used. */
  constructor(folder: string) {
    this.#folder = folder;
    this.#lock = lock(folder);
    this.#inode = statSync(join(folder, "serve.lock")).ino;
  }

  /** Stores the first admin's link in a file that only the directory's owner can read. Returns the file. */
  keepAdminLink(link: string): string {
    const file = join(this.#folder, "admin-link");
    replaceFile(file, `${link}\n`);
    return file;
  }

  /** Removes the first admin's link. */
  dropAdminLink(): void {
    rmSync(join(this.#folder, "admin-link"), { force: true });
  }

  /** Whether the directory that was locked is still there: what is written after it was removed is lost. */
  isGone(): boolean {
    try {
      return statSync(join(this.#folder, "serve.lock")).ino !== this.#inode;
    } catch (error) {
      return (error as { code?: unknown }).code === "ENOENT";
    }
  }

  /** Writes serving.json once the listeners are open. `served` is the record for host commands. */
  announceServing(server: ServerRecord, served: LastServe): void {
    // Write served.json first: a command that finds a running server relies on it.
    this.#write(servedFile(this.#folder), served);
    rmSync(flagsFile(this.#folder), { force: true });
    this.#write(servingFile(this.#folder), server);
  }

  /** Writes ready.json once every plugin can do its work. */
  announceReady(server: ServerRecord): void {
    this.#write(readyFile(this.#folder), server);
  }

  /** Rewrites the existing ones of the two files after a change of the server. */
  update(server: ServerRecord): void {
    for (const file of [servingFile(this.#folder), readyFile(this.#folder)]) {
      if (existsSync(file)) this.#write(file, server);
    }
  }

  #write(file: string, value: unknown): void {
    replaceFile(file, `${JSON.stringify(value)}\n`);
  }

  /** Removes serving.json and ready.json. */
  withdraw(): void {
    removeRecords(this.#folder);
  }

  /** Releases the lock. */
  release(): void {
    this.withdraw();
    rmSync(pidFile(this.#folder), { force: true });
    this.#lock.close();
  }
}
