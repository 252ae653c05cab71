import { RateWindow } from "../../lib/rate-window.ts";
import { signalSkewMs } from "../../wire/signal.ts";

/** How many signals are opened in any second. Source: docs/protocol/signals.md. */
export const signalRates = { ofSender: 20, ofRoom: 200, windowMs: 1_000 } as const;
/** How long an opened signal is remembered: as long as its time could still be accepted, in milliseconds. */
const rememberedMs = 2 * signalSkewMs;

/**
 * Limits how many signals of a room are opened, and recognizes repeats. What is over the limit is dropped unread, so
 * that a flood costs no cryptography.
 */
export class SignalGate {
  readonly #room = new RateWindow(signalRates.ofRoom, signalRates.windowMs);
  readonly #senders = new Map<string, RateWindow>();
  /** The opened signals of this period and of the one before. */
  #recent = new Set<string>();
  #older = new Set<string>();
  #turnMs = 0;

  /** Whether a signal may be opened now. Shape: the caller has checked that the sender is a member. */
  admits(sender: string, nowMs: number): boolean {
    const own = this.#senders.get(sender) ?? new RateWindow(signalRates.ofSender, signalRates.windowMs);
    this.#senders.set(sender, own);
    return own.take(nowMs) && this.#room.take(nowMs);
  }

  /** Remembers an opened signal. Returns false for a repeat. */
  isFirst(sender: string, replayKey: string, nowMs: number): boolean {
    if (nowMs >= this.#turnMs) {
      this.#older = nowMs < this.#turnMs + rememberedMs ? this.#recent : new Set();
      this.#recent = new Set();
      this.#turnMs = nowMs + rememberedMs;
    }
    const key = `${sender} ${replayKey}`;
    if (this.#recent.has(key) || this.#older.has(key)) return false;
    this.#recent.add(key);
    return true;
  }

  /** Forgets senders that are out of the room. */
  forget(isForgotten: (sender: string) => boolean): void {
    for (const sender of this.#senders.keys()) if (isForgotten(sender)) this.#senders.delete(sender);
  }
}
