import { TokenBucket } from "../../lib/token-bucket.ts";

/**
 * Maximum number of rooms that wait to be read. Hints beyond that are dropped: those rooms are read on another
 * occasion.
 */
const waitingMax = 1_000;
/**
 * Rate limit of the reads that notices cause: this many at once, then one a second. Source: docs/protocol/notices.md.
 */
const reads = { burst: 20, perSecond: 1 } as const;

/**
 * A queue of rooms to read because a notice hinted at a change. All hints for a room that waits become one read; rooms
 * are read one at a time.
 */
export class Hints {
  readonly #waiting = new Map<string, boolean>();
  readonly #reads = new TokenBucket(reads.burst, reads.perSecond);
  #isReading = false;

  /** `read` reads a room and, if `hasLeft`, signs the removal of members who left. It never fails. */
  constructor(private readonly read: (roomId: string, hasLeft: boolean) => Promise<void>) {}

  /** The number of rooms that wait to be read. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Queues a room. */
  take(roomId: string, hasLeft: boolean): void {
    const before = this.#waiting.get(roomId);
    if (before === undefined && this.#waiting.size >= waitingMax) return;
    this.#waiting.set(roomId, before === true || hasLeft);
    void this.#readAll();
  }

  async #readAll(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    for (const roomId of this.#waiting.keys()) {
      await this.#reads.take();
      const hasLeft = this.#waiting.get(roomId) === true;
      this.#waiting.delete(roomId);
      await this.read(roomId, hasLeft);
    }
    this.#isReading = false;
  }
}
