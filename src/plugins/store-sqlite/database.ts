import { Database as Native } from "bun:sqlite";
import { chmodSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import type { Log } from "../../contracts/plugin.ts";
import { UnibusError } from "../../wire/errors.ts";
import { createCommitGroup } from "./commit-group.ts";
import { fileError, isBusy, portError } from "./faults.ts";
import { refreshLooks } from "./looks.ts";
import { migrate } from "./migrations.ts";

/** How long a statement waits for another process that writes. The event loop stands still meanwhile. */
export const busyTimeoutMs = 2_000;

/** To what size the write-ahead log is cut back after a burst. */
const walBytesKept = 64 * 1_048_576;

/** How much of the database is kept in memory. */
const cacheKibMax = 65_536;

/** How often the switch to the write-ahead log is tried: it does not wait for others who open the file at once. */
const walTriesMax = 100;
const walRetryMs = 20;

/** One connection, its writes grouped, its errors mapped. */
export interface Database {
  readonly native: Native;
  readonly file: string;
  /** Runs reads. They see every commit made before this turn of the event loop, by any process. Errors: unavailable. */
  read<T>(work: () => T): T;
  /** Runs `work` in a transaction; settles once it is on disk. Errors: what `work` throws, unavailable. */
  write<T>(work: () => T): Promise<T>;
  /** Runs what no transaction may be open for. Errors: native. */
  alone(work: () => void): void;
  /** Another connection, which sees the database as it is at its first read. The caller closes it. */
  freeze(): Native;
  /** Whether the last commit failed. */
  writeFailed(): boolean;
  /** Commits what waits, and closes. Idempotent. */
  close(): void;
}

/** Opens a file, which is made where there is none, with the settings that every connection has. Errors: native. */
export function connect(file: string): Native {
  const native = new Native(file, { create: true, readwrite: true, strict: true });
  try {
    native.run(`PRAGMA busy_timeout = ${busyTimeoutMs}`);
    chmodSync(file, 0o600);
    enterWal(native, file);
    native.run("PRAGMA synchronous = FULL");
    native.run("PRAGMA fullfsync = ON");
    native.run("PRAGMA foreign_keys = ON");
    native.run(`PRAGMA cache_size = -${cacheKibMax}`);
    native.run(`PRAGMA journal_size_limit = ${walBytesKept}`);
    return native;
  } catch (error) {
    native.close(true);
    throw error;
  }
}

function enterWal(native: Native, file: string): void {
  for (let tries = 1; ; tries++) {
    try {
      const mode = native.query<{ journal_mode: string }, []>("PRAGMA journal_mode = WAL").get()?.journal_mode;
      if (mode === "wal") return;
      throw new UnibusError("unavailable", `${file} is where SQLite can keep no log (use a folder on a local disk)`);
    } catch (error) {
      if (!isBusy(error) || tries === walTriesMax) throw error;
      Bun.sleepSync(walRetryMs);
    }
  }
}

/** A database over an open connection. */
export function databaseOver(native: Native, file: string): Database {
  const group = createCommitGroup(native, file);
  let open = true;
  return {
    native,
    file,
    read(work) {
      try {
        group.beginReads();
        return work();
      } catch (error) {
        throw portError(file, error);
      }
    },
    write: group.write,
    alone(work) {
      group.endReads();
      work();
    },
    freeze() {
      if (!open) throw new UnibusError("unavailable", "the store is closed");
      try {
        const reader = new Native(file, { readonly: true });
        reader.run(`PRAGMA busy_timeout = ${busyTimeoutMs}`);
        reader.run("BEGIN");
        return reader;
      } catch (error) {
        throw portError(file, error);
      }
    },
    writeFailed: group.failed,
    close() {
      if (!open) return;
      open = false;
      group.flush();
      // Without `true` prepared statements keep the connection alive, and go on working.
      native.close(true);
    },
  };
}

/** How a database is opened. */
export interface OpenOptions {
  readonly file: string;
  readonly log?: Log | undefined;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

/**
 * Opens a database and brings its schema up to date.
 * Errors: unavailable, in one sentence that names the file and the mend.
 */
export function openDatabase({ file, log, now = Date.now }: OpenOptions): Database {
  let native: Native | undefined;
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    native = connect(file);
    migrate(native, file, { log, now });
    refreshLooks(native, file, log);
    return databaseOver(native, file);
  } catch (error) {
    native?.close(true);
    throw fileError(file, error);
  }
}
