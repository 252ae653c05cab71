import { Database as Native } from "bun:sqlite";
import { accessSync, chmodSync, constants, mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { Log } from "../../contracts/plugin.ts";
import { retry } from "../../lib/retry.ts";
import { UnibusError } from "../../wire/errors.ts";
import { busyTimeoutMs, type CommitGroupOptions, createCommitGroup, lockPauseMs, lockWaitMs } from "./commit-group.ts";
import { fileError, isBusy, portError } from "./faults.ts";
import { refreshLooks } from "./looks.ts";
import { migrate } from "./migrations.ts";

/** How long a statement waits for another process that writes while the database is opened, in milliseconds. */
const openBusyTimeoutMs = 2_000;

/** The size to which the write-ahead log is truncated after a burst, in bytes. */
const walBytesKept = 64 * 1_048_576;

/** The size of SQLite's page cache, in KiB. */
const cacheKibMax = 65_536;

/**
 * How often the switch to WAL mode is retried: SQLite's busy timeout does not apply to it when processes open the file
 * at once.
 */
const walTriesMax = 100;
const walRetryMs = 20;

/** A connection to a SQLite database with grouped writes and mapped errors. */
export interface Database {
  readonly native: Native;
  readonly file: string;
  /** Runs reads. They see every commit made before this turn of the event loop, by any process. Errors: unavailable. */
  read<T>(work: () => T): Promise<T>;
  /** Runs `work` in a transaction, and settles once it is on disk. Errors: those of `work`; unavailable. */
  write<T>(work: () => T): Promise<T>;
  /** Runs work that must not be inside a transaction. Errors: native. */
  alone(work: () => void): void;
  /** Opens a second connection, a snapshot of the database as of its first read. The caller closes it. */
  freeze(): Native;
  /** Why the store cannot write, by the last commit or by what waits now; null where it can. Safe to show. */
  writeFault(): string | null;
  /** Commits waiting writes and closes the connection. Idempotent. */
  close(): void;
}

/** Opens or creates a database file, with the settings that every connection needs. Errors: native. */
export function connect(file: string): Native {
  // Before it is opened: SQLite opens a file that cannot be written for reading alone, without an error.
  if (statSync(file, { throwIfNoEntry: false })?.isFile() === true) {
    chmodSync(file, 0o600);
    accessSync(file, constants.W_OK);
  }
  const native = new Native(file, { create: true, readwrite: true, strict: true });
  try {
    native.run(`PRAGMA busy_timeout = ${openBusyTimeoutMs}`);
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
      throw new UnibusError("unavailable", `${file}: the filesystem does not support SQLite WAL (use a local disk)`);
    } catch (error) {
      if (!isBusy(error) || tries === walTriesMax) throw error;
      Bun.sleepSync(walRetryMs);
    }
  }
}

/** Wraps an open connection. */
export function databaseOver(native: Native, file: string, options: CommitGroupOptions = {}): Database {
  native.run(`PRAGMA busy_timeout = ${busyTimeoutMs}`);
  const group = createCommitGroup(native, file, options);
  let open = true;
  return {
    native,
    file,
    async read(work) {
      const attempt = async () => {
        group.beginReads();
        return work();
      };
      try {
        return await retry(attempt, { withinMs: lockWaitMs, pauseMs: lockPauseMs, isPassing: isBusy });
      } catch (error) {
        throw portError(file, error);
      }
    },
    write: (work) => group.write(work),
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
    writeFault: () => group.fault(),
    close() {
      if (!open) return;
      open = false;
      group.flush();
      // Without `true`, prepared statements keep the connection open and usable.
      native.close(true);
    },
  };
}

/** The options for opening a database. */
export interface OpenOptions {
  readonly file: string;
  readonly log?: Log | undefined;
  /** The time in milliseconds since the epoch. */
  readonly now?: () => number;
}

/**
 * Opens a database and migrates its schema.
 * Errors: unavailable, with one sentence that names the file and the fix.
 */
export function openDatabase({ file, log, now = Date.now }: OpenOptions): Database {
  let native: Native | undefined;
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    native = connect(file);
    migrate(native, file, { log, now });
    refreshLooks(native, file, log);
    return databaseOver(native, file, { log });
  } catch (error) {
    native?.close(true);
    throw fileError(file, error);
  }
}
