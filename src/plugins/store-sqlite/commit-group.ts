/**
 * Writes of one database, committed in groups: all of one turn of the event loop share a transaction.
 * States: free; locked (another process holds the database: the writes wait, the event loop does not); failed (the last
 * commit failed) and slow (it took more than a second), each until a commit succeeds. Used by the store's connection.
 */
import type { Database as Native } from "bun:sqlite";
import type { Log } from "../../contracts/plugin.ts";
import { UnibusError } from "../../wire/errors.ts";
import { busyError, isBusy, isStoreFault, portError, shownFault } from "./faults.ts";

/** The most writes in one transaction. */
const writesPerCommitMax = 1_000;

/** The most writes that may wait. */
const writesWaitingMax = 20_000;

/** How long a statement waits for another process's lock, in milliseconds: the event loop waits with it. */
export const busyTimeoutMs = 50;
/** How long all tries may take then, in milliseconds. */
export const lockWaitMs = 5_000;
/** The pause between two of them, in milliseconds. */
export const lockPauseMs = 10;
/** From when on a lock is a fault, in milliseconds: commands on the host hold it for a moment. */
const lockNoticeMs = 500;
/** How long the last writes wait for it when the database is closed, in milliseconds. */
const closeLockWaitMs = 2_000;
/** A commit that takes longer is a fault, in milliseconds: the event loop stood still. */
const slowCommitMs = 1_000;

/** Writes to one database, committed in groups. */
export interface CommitGroup {
  /**
   * Runs `work` in a transaction and settles once it is on disk.
   * All writes of one turn of the event loop share a transaction, in order; one that throws undoes itself alone.
   * While another process holds the lock it is tried again without blocking the event loop, for 5 s in all.
   * Errors: what `work` throws; unavailable for every write of a transaction that could not be committed.
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
  /** Why nothing can be written, or only slowly: by the last commit, or by what waits now. Safe to show; else null. */
  fault(): string | null;
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

/** Another process holds the lock: nothing was done. */
class LockedError extends Error {}

/** What a transaction reports: how long a commit took, in milliseconds, and a write that failed by a store fault. */
interface TransactionEvents {
  readonly committed: (ms: number) => void;
  readonly failed: (error: unknown) => void;
}

function createTransaction(
  native: Native,
  file: string,
  { committed, failed }: TransactionEvents,
  elapsedMs: () => number,
): Transaction {
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
      // SQLite begins and commits in a read-only database: only the write itself fails.
      if (isStoreFault(error)) failed(error);
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
      try {
        begin.run();
      } catch (cause) {
        throw isBusy(cause) ? new LockedError("locked", { cause }) : cause;
      }
      const settles = group.map(inSavepoint);
      const began = elapsedMs();
      commit.run();
      committed(elapsedMs() - began);
      return settles;
    },
  };
}

/** A write that waits, and since when. */
type Waiting = Pending & { readonly since: number };

/** What a commit group works with beside the connection. */
export interface CommitGroupOptions {
  readonly log?: Log | undefined;
  /** Milliseconds, of a clock that goes on evenly; tests replace it. */
  readonly elapsedMs?: (() => number) | undefined;
}

/** Creates the group commit of a connection. A connection must have only one. */
class Writer implements CommitGroup {
  readonly #waiting: Waiting[] = [];
  readonly #transaction: Transaction;
  readonly #elapsedMs: () => number;
  #isScheduled = false;
  /** Why the last commit failed, and why a write of it failed alone. */
  #failure: string | null = null;
  #writeFailure: string | null = null;
  /** Since when another process holds the lock that the first write waits for. */
  #lockedSince: number | null = null;
  /** How long the last commit took, in milliseconds, if that was too long. */
  #slowMs: number | null = null;

  constructor(
    private readonly native: Native,
    private readonly file: string,
    private readonly options: CommitGroupOptions,
  ) {
    this.#elapsedMs = options.elapsedMs ?? (() => performance.now());
    const events = {
      committed: (ms: number) => this.#committed(ms),
      failed: (error: unknown) => {
        this.#writeFailure = shownFault(error);
      },
    };
    this.#transaction = createTransaction(native, file, events, this.#elapsedMs);
  }

  write<T>(work: () => T): Promise<T> {
    if (this.#waiting.length >= writesWaitingMax) {
      return Promise.reject(new UnibusError("unavailable", "store busy: too many writes are waiting (try again)"));
    }
    return new Promise<T>((resolve, reject) => {
      const attempt = () => {
        const value = work();
        return () => resolve(value);
      };
      this.#waiting.push({ attempt, reject, since: this.#elapsedMs() });
      this.#schedule(setImmediate);
    });
  }

  flush(): void {
    this.native.run(`PRAGMA busy_timeout = ${closeLockWaitMs}`);
    while (this.#waiting.length > 0) this.#commitNext(true);
  }

  beginReads(): void {
    this.#transaction.beginReads();
  }

  endReads(): void {
    this.#transaction.recover();
  }

  fault(): string | null {
    const lockedMs = this.#lockedSince === null ? 0 : this.#elapsedMs() - this.#lockedSince;
    if (lockedMs > lockNoticeMs) return shownFault(busyError);
    if (this.#failure !== null) return this.#failure;
    if (this.#slowMs === null) return null;
    const seconds = (this.#slowMs / 1_000).toFixed(1);
    return `the store's last commit took ${seconds} s (check the disk and what else uses it)`;
  }

  #schedule(later: (run: () => void) => unknown): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    later(() => {
      this.#isScheduled = false;
      this.#commitNext();
    });
  }

  #commitNext(isLast = false): void {
    const group = this.#waiting.splice(0, writesPerCommitMax);
    if (group.length === 0) return;
    let settles: (() => void)[];
    this.#writeFailure = null;
    try {
      settles = this.#transaction.commitAll(group);
      this.#failure = this.#writeFailure;
      this.#unlock();
    } catch (error) {
      if (error instanceof LockedError && !isLast) {
        this.#waitForLock(group, error.cause);
        return;
      }
      settles = this.#refuse(group, error instanceof LockedError ? error.cause : error);
    }
    if (this.#waiting.length > 0) this.#schedule(setImmediate);
    for (const settle of settles) settle();
  }

  /** What has not waited too long yet is tried again, and the event loop goes on in between. */
  #waitForLock(group: readonly Waiting[], cause: unknown): void {
    const now = this.#elapsedMs();
    if (this.#lockedSince === null) {
      this.#lockedSince = now;
      // From now on no try waits.
      this.native.run("PRAGMA busy_timeout = 0");
    }
    const isOver = ({ since }: Waiting) => now - since >= lockWaitMs;
    this.#waiting.unshift(...group.filter((one) => !isOver(one)));
    this.#schedule((run) => setTimeout(run, lockPauseMs));
    for (const settle of this.#refuse(group.filter(isOver), cause)) settle();
  }

  #refuse(group: readonly Waiting[], error: unknown): (() => void)[] {
    if (group.length === 0) return [];
    this.#failure = shownFault(error);
    try {
      this.#transaction.recover();
    } catch {
      // Retried before the next read or write, which fails as long as the rollback does.
    }
    const failure = portError(this.file, error);
    return group.map(
      ({ reject }) =>
        () =>
          reject(failure),
    );
  }

  #unlock(): void {
    if (this.#lockedSince === null) return;
    this.#lockedSince = null;
    this.native.run(`PRAGMA busy_timeout = ${busyTimeoutMs}`);
  }

  #committed(ms: number): void {
    if (ms <= slowCommitMs) {
      this.#slowMs = null;
      return;
    }
    // Once for each change: /readyz is red until a commit is fast again.
    if (this.#slowMs === null) this.options.log?.warn(`a commit took ${Math.round(ms)} ms`, { file: this.file });
    this.#slowMs = ms;
  }
}

/** The writes of one connection, committed in groups. */
export function createCommitGroup(native: Native, file: string, options: CommitGroupOptions = {}): CommitGroup {
  return new Writer(native, file, options);
}
