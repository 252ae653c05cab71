/**
 * Group commit: all writes of one turn of the event loop share one transaction, and so one fsync; each write runs in
 * its own savepoint, so a failing one only rolls back itself. Reads of one turn share a read transaction, because
 * taking SQLite's lock costs more than a read.
 * Invariants: a write resolves only once its transaction is on disk; nothing of a failed commit is ever visible to a
 * reader. `database.ts` makes one group for each connection; every write of the store goes through it.
 */
import type { Database as Native } from "bun:sqlite";
import { UnibusError } from "../../wire/errors.ts";
import { portError } from "./faults.ts";

/** The most writes in one transaction. */
const writesPerCommitMax = 1_000;

/** The most writes that may wait. */
const writesWaitingMax = 20_000;

/** Writes to one database, committed in groups. */
export interface CommitGroup {
  /**
   * Runs `work` in a transaction, and settles once it is on disk.
   * All writes of one turn of the event loop share a transaction, in order. A write that throws only rolls back itself.
   * Errors: those of `work`; unavailable for every write of a transaction that could not be committed.
   */
  write<T>(work: () => T): Promise<T>;
  /** Commits all waiting writes now. */
  flush(): void;
  /**
   * Opens a read transaction for this turn of the event loop, because taking SQLite's lock costs more than a read.
   * First rolls back whatever a failed commit left open, so that no reader sees it.
   */
  beginReads(): void;
  /** Ends the read transaction, or rolls back a failed commit. No transaction is open afterwards. */
  endReads(): void;
  /** Whether the last commit failed. */
  failed(): boolean;
}

interface Pending {
  /** Runs the work. Returns a function that resolves its caller's promise. */
  readonly attempt: () => () => void;
  readonly reject: (error: unknown) => void;
}

interface Transaction {
  /** Runs and commits the work of a group. Returns the functions that settle its callers' promises. */
  commitAll(group: readonly Pending[]): (() => void)[];
  /** Rolls back the open transaction: a failed commit, or the reads of this turn. */
  recover(): void;
  beginReads(): void;
}

function createTransaction(native: Native, file: string): Transaction {
  const begin = native.prepare<never, []>("BEGIN IMMEDIATE");
  const beginReading = native.prepare<never, []>("BEGIN");
  const commit = native.prepare<never, []>("COMMIT");
  const rollback = native.prepare<never, []>("ROLLBACK");
  const savepoint = native.prepare<never, []>("SAVEPOINT one");
  const undo = native.prepare<never, []>("ROLLBACK TO one");
  const release = native.prepare<never, []>("RELEASE one");

  const inSavepoint = ({ attempt, reject }: Pending): (() => void) => {
    let settle: () => void;
    savepoint.run();
    try {
      settle = attempt();
    } catch (error) {
      // On a full or failing disk, SQLite may roll back the whole transaction, including the other writes.
      if (!native.inTransaction) throw error;
      undo.run();
      settle = () => reject(portError(file, error));
    }
    release.run();
    return settle;
  };

  let isReading = false;

  const recover = (): void => {
    isReading = false;
    if (native.inTransaction) rollback.run();
  };

  const endTurn = (): void => {
    try {
      if (isReading) recover();
    } catch {
      // Retried before the next read or write, which fails as long as the rollback does.
    }
  };

  return {
    recover,
    beginReads() {
      if (isReading) return;
      recover();
      beginReading.run();
      isReading = true;
      setImmediate(endTurn);
    },
    commitAll(group) {
      recover();
      begin.run();
      const settles = group.map(inSavepoint);
      commit.run();
      return settles;
    },
  };
}

/** Creates the group commit of a connection. A connection must have only one. */
export function createCommitGroup(native: Native, file: string): CommitGroup {
  const { commitAll, recover, beginReads } = createTransaction(native, file);
  const waiting: Pending[] = [];
  let lastFailed = false;

  const attemptAll = (group: readonly Pending[]): (() => void)[] => {
    try {
      const settles = commitAll(group);
      lastFailed = false;
      return settles;
    } catch (error) {
      lastFailed = true;
      try {
        recover();
      } catch {
        // Retried before the next read or write, which fails as long as the rollback does.
      }
      const failure = portError(file, error);
      return group.map(
        ({ reject }) =>
          () =>
            reject(failure),
      );
    }
  };

  const commitNext = (): void => {
    const group = waiting.splice(0, writesPerCommitMax);
    if (waiting.length > 0) setImmediate(commitNext);
    if (group.length > 0) for (const settle of attemptAll(group)) settle();
  };

  return {
    write<T>(work: () => T): Promise<T> {
      if (waiting.length >= writesWaitingMax) {
        return Promise.reject(new UnibusError("unavailable", "too many writes wait for the store"));
      }
      return new Promise<T>((resolve, reject) => {
        const attempt = () => {
          const value = work();
          return () => resolve(value);
        };
        waiting.push({ attempt, reject });
        if (waiting.length === 1) setImmediate(commitNext);
      });
    },
    flush() {
      while (waiting.length > 0) commitNext();
    },
    beginReads,
    endReads: recover,
    failed: () => lastFailed,
  };
}
