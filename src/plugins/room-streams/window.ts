/**
 * Reads of one stream within one deadline: windows of sequences, and where the messages before a run of erased ones
 * are. A replica that lags is noticed and asked again, so an answer never lacks a message that the stream has.
 */
import type { Batch, BatchedReader, BatchStart, StoredMessage } from "../../nats/batched-reader.ts";
import type { StreamMessage } from "../../nats/messages.ts";
import { historyBytesMax } from "../../wire/api.ts";
import { streamErrors } from "./errors.ts";

/** The total timeout of one read, in milliseconds. Source: docs/protocol/history.md. */
const readTimeoutMs = 5_000;
/** The pause before a replica that lags is asked again, in milliseconds. */
const lagPauseMs = 20;
/** The minimum byte limit of a batched read: even small rooms have frames above their average size. */
const readBytesMin = 262_144;

/** A stream, read within one deadline. Errors of every method: unavailable. */
export class StreamWindow {
  readonly #end = performance.now() + readTimeoutMs;

  constructor(
    private readonly reader: BatchedReader,
    private readonly stream: string,
  ) {}

  /** Reads at most `count` messages from a start on. The caller has to notice a replica that lags: see `isBehind`. */
  read(start: BatchStart, count: number, bytesMax: number): Promise<Batch> {
    return this.reader.read(this.stream, start, { count, bytesMax, timeoutMs: this.#leftMs });
  }

  /**
   * Whether the replica that found nothing more lacks a message that the stream has: `isLater` says whether the
   * stream's newest message should have been found. Waits before it says so.
   * Errors: unavailable, also if no replica has caught up in time.
   */
  async isBehind(isLater: (newest: StreamMessage) => boolean): Promise<boolean> {
    const newest = await this.reader.last(this.stream);
    if (newest === null || !isLater(newest)) return false;
    if (this.#leftMs <= lagPauseMs) throw streamErrors.unanswered("every replica that answers lags");
    await new Promise((resolve) => setTimeout(resolve, lagPauseMs));
    return true;
  }

  /** The newest message at or before a sequence; null if there is none. */
  lastUpTo(seq: number): Promise<StoredMessage | null> {
    return this.reader.lastUpTo(this.stream, seq, { bytesMax: readBytesMin, timeoutMs: this.#leftMs });
  }

  get #leftMs(): number {
    return Math.max(1, this.#end - performance.now());
  }
}

/** The byte limit of the first try to read some messages of an average size, in bytes. */
export function firstBytes(count: number, averageBytes: number): number {
  return Math.min(historyBytesMax, Math.max(readBytesMin, Math.ceil(2 * averageBytes * count)));
}
