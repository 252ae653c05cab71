/**
 * The deadline of a nats-server that starts: renewed for as long as it makes progress, because it may restore thousands
 * of streams first, and one that is ended in the middle begins again from nothing.
 * Progress is a line about a stream that it restores, or bytes that it reads: while it restores one large stream it
 * logs nothing for minutes.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** How often the bytes that it has read are looked at, in milliseconds. */
const lookEveryMs = 250;
/** How long at least passes between two reports, in milliseconds. */
const reportEveryMs = 250;

/** How a start is watched. */
export interface StartProgressOptions {
  /** How long nats-server may go on without progress, in milliseconds. */
  readonly timeoutMs: number;
  readonly pid: number;
  /** JetStream's folder, in which each stream has one of its own. */
  readonly storeDir: string;
  /** Hears how far it is, safe to show. Called only once there is something to restore. */
  readonly onProgress: (detail: string) => void;
  /** Milliseconds, of a clock that goes on evenly; tests replace it. */
  readonly elapsedMs?: () => number;
}

/** The number of streams in JetStream's folder; 0 if the folder does not exist. */
export function streamsIn(storeDir: string): number {
  const names = (folder: string): string[] => {
    try {
      return readdirSync(folder);
    } catch {
      return [];
    }
  };
  const root = join(storeDir, "jetstream");
  return names(root).reduce((count, account) => count + names(join(root, account, "streams")).length, 0);
}

/** Bytes that a process has read so far; null where the system does not say. */
function bytesReadBy(pid: number): number | null {
  try {
    return Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1] ?? "0");
  } catch {
    return null;
  }
}

/** Watches one start. */
export class StartProgress {
  readonly #options: StartProgressOptions;
  readonly #elapsedMs: () => number;
  readonly #streams: number;
  #restored = 0;
  #renewedAt: number;
  #lookedAt = 0;
  #ended = false;
  #reportedAt = Number.NEGATIVE_INFINITY;
  #bytesRead: number | null = null;

  constructor(options: StartProgressOptions) {
    this.#options = options;
    this.#elapsedMs = options.elapsedMs ?? (() => performance.now());
    this.#streams = streamsIn(options.storeDir);
    this.#renewedAt = this.#elapsedMs();
  }

  /** Ends the watch: nats-server may restore streams later, and its log may be read late, and neither is a start. */
  end(): void {
    this.#ended = true;
  }

  /** Takes a line of nats-server's log. */
  see(line: string): void {
    if (this.#ended) return;
    if (!/^\[INF\]\s+(Starting restore for|Restored|Recovering) /.test(line)) return;
    if (/^\[INF\]\s+Restored [\d,]+ messages for stream/.test(line)) this.#restored += 1;
    this.#renew();
  }

  /** Whether nats-server has made no progress for too long. */
  isOver(): boolean {
    const now = this.#elapsedMs();
    if (now - this.#lookedAt >= lookEveryMs) {
      this.#lookedAt = now;
      const bytes = bytesReadBy(this.#options.pid);
      if (bytes !== null && bytes !== this.#bytesRead) this.#renew();
      this.#bytesRead = bytes;
    }
    return now - this.#renewedAt > this.#options.timeoutMs;
  }

  /** How far it is. Safe to show. */
  get detail(): string {
    const [restored, all] = [this.#restored, Math.max(this.#streams, this.#restored)];
    return `nats-server is starting: ${restored} of ${all} streams restored`;
  }

  /** Why a start was given up. */
  get fault(): string {
    const seconds = Math.ceil(this.#options.timeoutMs / 1_000);
    return `it made no progress for ${seconds} s, ${this.#restored} of ${this.#streams} streams restored`;
  }

  #renew(): void {
    this.#renewedAt = this.#elapsedMs();
    if (this.#streams === 0 || this.#renewedAt - this.#reportedAt < reportEveryMs) return;
    this.#reportedAt = this.#renewedAt;
    this.#options.onProgress(this.detail);
  }
}
