import { UnibusError } from "../../wire/errors.ts";

/** The window in which statements are counted, in milliseconds. */
const windowMs = 60_000;
/** Maximum number of rooms in memory. Above it, rooms without a statement in the last minute are removed. */
const roomsMax = 10_000;

/**
 * Rate limit on the statements of one room (`rooms.statements_per_minute`), counted by this node over a sliding 60 s. A
 * kick and a statement that completes a leave are exempt. Source: docs/protocol/logins.md.
 */
export class Pace {
  readonly #taken = new Map<string, number[]>();

  /** `perMinute` 0 means no limit. `now` returns milliseconds since the epoch. */
  constructor(
    private readonly perMinute: number,
    private readonly now: () => number,
  ) {}

  /** Runs the change of a statement. A failed change does not count. Errors: quota; those of `change`. */
  async during<T>(roomId: string, change: () => Promise<T>): Promise<T> {
    if (this.perMinute === 0) return change();
    const at = this.#take(roomId);
    try {
      return await change();
    } catch (error) {
      this.#giveBack(roomId, at);
      throw error;
    }
  }

  #take(roomId: string): number {
    const now = this.now();
    const recent = this.#recent(roomId, now);
    const [oldest = now] = recent;
    if (recent.length >= this.perMinute) {
      const retryAfterS = Math.max(1, Math.ceil((oldest + windowMs - now) / 1_000));
      const limit = `rooms.statements_per_minute (${this.perMinute})`;
      const message = `this room reached ${limit} (try again in ${retryAfterS} s)`;
      throw new UnibusError("quota", message, { retryAfterS });
    }
    if (this.#taken.size >= roomsMax) {
      for (const room of this.#taken.keys()) if (this.#recent(room, now).length === 0) this.#taken.delete(room);
    }
    recent.push(now);
    this.#taken.set(roomId, recent);
    return now;
  }

  /** Frees the place of a failed change, unless it is more than a minute old and has been dropped already. */
  #giveBack(roomId: string, at: number): void {
    const taken = this.#taken.get(roomId) ?? [];
    const index = taken.indexOf(at);
    if (index >= 0) taken.splice(index, 1);
  }

  /**
   * Times of a room's statements in the last minute, oldest first. Times in the future (clock set back) are dropped.
   */
  #recent(roomId: string, now: number): number[] {
    return (this.#taken.get(roomId) ?? []).filter((at) => at > now - windowMs && at <= now);
  }
}
