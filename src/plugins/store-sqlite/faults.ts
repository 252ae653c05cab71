import { SQLiteError } from "bun:sqlite";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";

/** A database error: a message that is safe to show to anyone, and the fix for the operator, which names the file. */
interface Fault {
  readonly message: string;
  readonly mend: (file: string) => string;
}

const busy: Fault = {
  message: "the store is busy",
  mend: (file) => `another process holds the database ${file} (let it finish, or stop it)`,
};
const damaged: Fault = {
  message: "the store is damaged",
  mend: (file) => `${file} is damaged or is no SQLite database (stop unibus and put a backup in its place)`,
};
const unopened: Fault = {
  message: "the store cannot be opened",
  mend: (file) => `${file} cannot be opened (it must be a file, in a folder that exists and is writable)`,
};
const unknown: Fault = {
  message: "the store does not answer",
  mend: (file) => `the database ${file} does not answer (the cause says why)`,
};

/** Faults by SQLite's primary result code. */
const faults: Readonly<Record<number, Fault>> = {
  5: busy,
  6: busy,
  8: {
    message: "the store is read-only",
    mend: (file) => `the database ${file} is read-only (make it and its folder writable for the user who runs unibus)`,
  },
  10: {
    message: "the store's disk does not answer",
    mend: (file) => `the disk that holds ${file} fails (check the disk, then restart unibus)`,
  },
  11: damaged,
  13: {
    message: "the store's disk is full",
    mend: (file) => `the disk that holds ${file} is full (free some space; no restart is needed)`,
  },
  14: unopened,
  26: damaged,
};

function faultOf(error: unknown): Fault {
  if (error instanceof SQLiteError) return faults[error.errno & 0xff] ?? unknown;
  const isFileSystem = error instanceof Error && "syscall" in error;
  return isFileSystem ? unopened : unknown;
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
  return new UnibusError("unavailable", fault.message, { cause: new Error(fault.mend(file), { cause: error }) });
}

/** Maps a native error of opening or copying a file to one sentence that names the file and the fix. */
export function fileError(file: string, error: unknown): UnibusError {
  if (isUnibusError(error)) return error;
  return new UnibusError("unavailable", faultOf(error).mend(file), { cause: error });
}
