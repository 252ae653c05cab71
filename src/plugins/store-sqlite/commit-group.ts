import type { Database as Native } from "bun:sqlite";
import { UnibusError } from "../../wire/errors.ts";
import { portError } from "./faults.ts";

/** How many writes one transaction takes. */
const writesPerCommitMax = 1_000;

/** How many writes may wait. */
const writesWaitingMax = 20_000;

/** Writes of one database, committed in groups. */
export interface CommitGroup {
  /**
   * Runs `work` in a transaction and settles once it is on disk.
   * All writes of one turn of the event loop share a transaction, in order; one that throws undoes itself alone.
   * Errors: what `work` throws; unavailable for every write of a transaction that could not be committed.
   */
  write<T>(work: () => T): Promise<T>;
  /** Commits now what waits. */
  flush(): void;
  /**
   * Opens a transaction for the reads of this turn of the event loop: taking SQLite's lock costs more than a read.
   * What a failed commit left open is undone before, so that no reader sees it.
   */
  beginReads(): void;
  /** Ends that transaction, or undoes what a failed commit left: nothing is open then. */
  endReads(): void;
  /** Whether the last commit failed. */
  failed(): boolean;
}

interface Pending {
  /** Does the work, and returns what tells its caller of the success. */
  readonly attempt: () => () => void;
  readonly reject: (error: unknown) => void;
}

interface Transaction {
  /** Does the work of a group, and returns how each of its callers is to be told. */
  commitAll(group: readonly Pending[]): (() => void)[];
  /** Undoes what is open: a commit that failed, or the reads of this turn. */
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
      // A full or failing disk may make SQLite undo the whole transaction, and the neighbours with it.
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
      // It is tried again before the next read or write, which fails as long as this does.
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

/** The one writer of a connection. */
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
        // It is tried again before the next read or write, which fails as long as this does.
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
