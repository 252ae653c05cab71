/** What one read of the history, in one piece and in its order, shows of each chain. Pure. */
import { ulidTimeMs } from "../../wire/ulid.ts";

/** How many numbers of a chain are remembered. */
const numbersMax = 1_024;
/**
 * A frame that is stored after a later one of its chain was in flight with it, unless their times differ by more. Until
 * then a client may send it again. In milliseconds. Source: docs/protocol/history.md.
 */
export const inFlightMs = 120_000;

/** What a read showed of a chain so far. */
interface Met {
  /** Frames with lower numbers may have been read, and forgotten. */
  low: number;
  top: number;
  topMs: number;
  /** The highest number that a frame of the chain said was stored before itself. */
  floor: number;
  readonly numbers: Set<number>;
}

/** One read. `isFromStart`: it begins with the room's first message. */
export class HistoryRead {
  readonly #chains = new Map<string, Met>();

  constructor(private readonly isFromStart = false) {}

  /** Whether a frame of this chain was read. */
  has(chain: string): boolean {
    return this.#chains.has(chain);
  }

  /** The numbers of a chain that were not read, although later ones were, between two numbers. */
  *skipped(chain: string, after: number, before: number): Generator<number, void> {
    const met = this.#chains.get(chain);
    if (met === undefined) return;
    for (let n = Math.max(after, before - numbersMax, met.low) + 1; n < before; n++) if (!met.numbers.has(n)) yield n;
  }

  /** The highest number of a chain so far, or -1. */
  topOf(chain: string): number {
    return this.#chains.get(chain)?.top ?? -1;
  }

  /**
   * Adds the next frame. `stored`: the highest number of the chain that its sender knew to be stored when it sent this.
   * `mayBeLate`: the sender gave it up and did not know whether it would be stored.
   * Returns whether a frame that was not read before is stored too late: it was stored already when an earlier one of
   * this read was sent, or is much older.
   */
  add(chain: string, n: number, id: string, stored: number, mayBeLate: boolean): boolean {
    let met = this.#chains.get(chain);
    if (met === undefined) {
      met = { low: this.isFromStart ? -1 : n, top: -1, topMs: 0, floor: -1, numbers: new Set() };
      this.#chains.set(chain, met);
    }
    const ms = ulidTimeMs(id);
    // A frame that comes again is a copy, which receivers drop.
    const isNew = n > met.low && n < met.top && !met.numbers.has(n);
    const isLate = isNew && ((n <= met.floor && !mayBeLate) || met.topMs - ms > inFlightMs);
    if (n > met.top) [met.top, met.topMs] = [n, ms];
    met.floor = Math.max(met.floor, stored);
    met.numbers.add(n);
    if (met.numbers.size > numbersMax) {
      const [oldest = n] = met.numbers;
      met.numbers.delete(oldest);
      met.low = Math.max(met.low, oldest);
    }
    return isLate;
  }
}
