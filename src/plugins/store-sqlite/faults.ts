import { SQLiteError } from "bun:sqlite";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";

/** What has gone wrong with a database: for anybody to read, for the operator, and what to do about it. */
interface Fault {
  readonly message: string;
  readonly what: (file: string) => string;
  readonly hint: string;
}

const busy: Fault = {
  message: "the store is busy",
  what: (file) => `another process has locked the database ${file}`,
  hint: "let it finish, or stop it",
};
const damaged: Fault = {
  message: "the store is corrupt",
  what: (file) => `${file} is corrupt or not an SQLite database`,
  hint: "stop unibus and restore a backup",
};
const unopened: Fault = {
  message: "cannot open the store",
  what: (file) => `cannot open ${file}`,
  hint: "use a file in a folder that exists and is writable",
};
const unknown: Fault = {
  message: "the store is unavailable",
  what: (file) => `the database ${file} failed`,
  hint: "see the cause",
};

/** Faults by SQLite's primary result code. */
const faults: Readonly<Record<number, Fault>> = {
  5: busy,
  6: busy,
  8: {
    message: "the store is read-only",
    what: (file) => `the database ${file} is read-only`,
    hint: "make it and its folder writable for the user that runs unibus",
  },
  10: {
    message: "the store's disk failed",
    what: (file) => `I/O error on the disk of ${file}`,
    hint: "check the disk, then restart unibus",
  },
  11: damaged,
  13: {
    message: "the store's disk is full",
    what: (file) => `the disk of ${file} is full`,
    hint: "free some space; no restart is needed",
  },
  14: unopened,
  26: damaged,
};

/** Represents a lock that another process holds, before SQLite itself reports an error. */
export const busyError: unknown = Object.assign(new Error("locked"), { errno: 5 });

function faultOf(error: unknown): Fault {
  if (error === busyError) return busy;
  if (error instanceof SQLiteError) return faults[error.errno & 0xff] ?? unknown;
  const isFileSystem = error instanceof Error && "syscall" in error;
  return isFileSystem ? unopened : unknown;
}

const sentence = ({ what, hint }: Fault, file: string): string => `${what(file)} (${hint})`;

/** What a native error means and how to fix it, safe to show: it names no file. */
export function shownFault(error: unknown): string {
  if (isUnibusError(error)) return error.message;
  const fault = faultOf(error);
  const { message, hint } = fault;
  return fault === unknown ? message : `${message} (${hint})`;
}

/** Reports whether an error is a fault of the store itself, not of what was written: every write may fail alike. */
export function isStoreFault(error: unknown): boolean {
  return error instanceof SQLiteError && faultOf(error) !== unknown;
}

/** Reports whether SQLite gave up because another connection holds the database's lock. */
export function isBusy(error: unknown): boolean {
  return faultOf(error) === busy;
}

/**
 * Maps a native error of a store operation.
 * Shape: `unavailable`; the message is safe to show, the cause names the file and the fix.
 */
export function portError(file: string, error: unknown): UnibusError {
  if (isUnibusError(error)) return error;
  const fault = faultOf(error);
  return new UnibusError("unavailable", fault.message, { cause: new Error(sentence(fault, file), { cause: error }) });
}

/** Maps a native error of opening or copying a file to one sentence that names the file and the fix. */
export function fileError(file: string, error: unknown): UnibusError {
  if (isUnibusError(error)) return error;
  return new UnibusError("unavailable", sentence(faultOf(error), file), { cause: error });
}
