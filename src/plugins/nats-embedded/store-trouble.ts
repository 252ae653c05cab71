/**
 * Notices that nats-server can no longer write, from its log, and heals it. After a failed write nats-server refuses
 * every later write to that stream until it is started again, also when the disk has space again. So once a write to
 * its folder works, it is started again.
 */
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Health, Log } from "../../contracts/plugin.ts";

/** How often it is tried whether a write works again, in milliseconds. */
const tryEveryMs = 1_000;
/** The least time between two restarts for this, doubled each time up to the maximum, in milliseconds. */
const restartPauseMs = { first: 10_000, most: 300_000 } as const;
/** The bytes that a try writes: with less free space the next message would fail again. */
const tryBytes = 4 * 1_048_576;
/** How long a shortage of file descriptors counts after nats-server logged it last, in milliseconds. */
const shortageMs = 5_000;

const hints: readonly (readonly [RegExp, string])[] = [
  [/no space left|disk quota/i, "free some space; no restart is needed"],
  [/too many open files/i, "raise the limit of open files: LimitNOFILE in the unit file, ulimit -n in a shell"],
  [/read-only|permission denied/i, "make nats/store in the data directory writable; no restart is needed"],
];
const otherHint = "check the disk of nats/store in the data directory";

/** What the watcher works with. */
export interface StoreTroubleOptions {
  /** JetStream's folder. */
  readonly storeDir: string;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Ends nats-server, which is then started again. */
  readonly restart: (why: string) => void;
}

/** Watches what nats-server logs about its writes. */
export class StoreTrouble {
  readonly #options: StoreTroubleOptions;
  #cause: string | null = null;
  #shortAt = Number.NEGATIVE_INFINITY;
  #pauseMs: number = restartPauseMs.first;
  #restartedAt = Number.NEGATIVE_INFINITY;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: StoreTroubleOptions) {
    this.#options = options;
    options.signal.addEventListener("abort", () => clearTimeout(this.#timer), { once: true });
  }

  /** Takes a line of nats-server's log. */
  see(line: string): void {
    if (/too many open files/i.test(line)) this.#shortAt = performance.now();
    const [, cause] = /critical write error: (?:.*: )?(.+)$/i.exec(line) ?? [];
    if (cause === undefined || this.#cause !== null) return;
    this.#cause = cause;
    this.#tryLater();
  }

  /** Not ok while nats-server cannot write. */
  health(): Health {
    if (this.#cause !== null) {
      const hint = hints.find(([shape]) => shape.test(this.#cause ?? ""))?.[1] ?? otherHint;
      return { ok: false, detail: `nats-server cannot write: ${this.#cause} (${hint})` };
    }
    if (performance.now() - this.#shortAt > shortageMs) return { ok: true };
    return { ok: false, detail: `nats-server has no file descriptors left (${hints[1]?.[1]})` };
  }

  #tryLater(): void {
    if (this.#options.signal.aborted) return;
    this.#timer = setTimeout(() => void this.#try(), tryEveryMs);
    this.#timer.unref();
  }

  async #try(): Promise<void> {
    const now = performance.now();
    if (now - this.#restartedAt < this.#pauseMs || !(await this.#canWrite())) return this.#tryLater();
    if (this.#options.signal.aborted) return;
    // A long time without trouble makes the next pause short again.
    const isCalm = now - this.#restartedAt > restartPauseMs.most;
    this.#pauseMs = isCalm ? restartPauseMs.first : Math.min(restartPauseMs.most, this.#pauseMs * 2);
    this.#restartedAt = now;
    const cause = this.#cause;
    this.#cause = null;
    this.#options.restart(`it could not write (${cause}), and its disk can be written again`);
  }

  async #canWrite(): Promise<boolean> {
    const file = join(this.#options.storeDir, ".unibus-write-test");
    try {
      const handle = await open(file, "w", 0o600);
      try {
        await handle.writeFile(new Uint8Array(tryBytes));
        await handle.datasync();
      } finally {
        await handle.close();
      }
      return true;
    } catch {
      return false;
    } finally {
      await rm(file, { force: true }).catch(() => undefined);
    }
  }
}
