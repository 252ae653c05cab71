import { SlidingWindow } from "../../lib/sliding-window.ts";
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
  readonly #window: SlidingWindow | null;

  /** `perMinute` 0 means no limit. `now` returns milliseconds since the epoch. */
  constructor(
    private readonly perMinute: number,
    now: () => number,
  ) {
    this.#window = perMinute === 0 ? null : new SlidingWindow({ max: perMinute, windowMs, keysMax: roomsMax, now });
  }

  /** Runs the change of a statement. A failed change does not count. Errors: quota; those of `change`. */
  async during<T>(roomId: string, change: () => Promise<T>): Promise<T> {
    const place = this.#window?.take(roomId);
    if (place === undefined) return change();
    if ("waitMs" in place) {
      const retryAfterS = Math.max(1, Math.ceil(place.waitMs / 1_000));
      const limit = `rooms.statements_per_minute (${this.perMinute})`;
      const message = `this room reached ${limit} (try again in ${retryAfterS} s)`;
      throw new UnibusError("quota", message, { retryAfterS });
    }
    try {
      return await change();
    } catch (error) {
      place.giveBack();
      throw error;
    }
  }
}
