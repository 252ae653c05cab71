import { TokenBucket } from "../lib/token-bucket.ts";

/** Rooms that wait to be read, at most: what is more is read when something else leads there. */
const waitingMax = 1_000;
/** Reads that notices may cause: this many at once, then one a second. Source: spec 9. */
const reads = { burst: 20, perSecond: 1 } as const;

/** Rooms about which something was hinted: each is read once for all hints that came before, one after the other. */
export class Hints {
  readonly #waiting = new Map<string, boolean>();
  readonly #reads = new TokenBucket(reads.burst, reads.perSecond);
  #isReading = false;

  /** `read` reads a room, and signs out who left where `hasLeft` says that somebody did. It never fails. */
  constructor(private readonly read: (roomId: string, hasLeft: boolean) => Promise<void>) {}

  /** How many rooms wait to be read. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Takes a hint. */
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
