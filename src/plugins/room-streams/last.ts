import type { FrameRun } from "../../contracts/streams.ts";
import type { BatchedReader, StoredMessage } from "../../nats/batched-reader.ts";
import { historyBytesMax } from "../../wire/api.ts";
import type { StreamInfo } from "./stream-info.ts";

/** The total timeout of one read, in milliseconds. Source: docs/protocol/history.md. */
const readTimeoutMs = 5_000;

/** The minimum byte limit of a batched read: even small rooms have frames above their average size. */
const readBytesMin = 262_144;

const nothing: FrameRun = { frames: [], firstSeq: 0, lastSeq: 0, more: false };

/**
 * Reads the last messages of a stream whose state is known.
 * It reads windows backwards, sized by the average message: JetStream truncates a window at its newer end, but the
 * newest messages are wanted. One window suffices for all but the largest frames.
 */
export async function lastFrames(
  reader: BatchedReader,
  stream: string,
  state: StreamInfo["state"],
  page: { readonly limit: number; readonly before: number | null },
): Promise<FrameRun> {
  const end = performance.now() + readTimeoutMs;
  const averageBytes = Math.max(1, state.bytes / Math.max(1, state.messages));
  const found: StoredMessage[][] = [];
  let count = 0;
  let bytesLeft = historyBytesMax;
  let to = Math.min(state.last_seq, (page.before ?? Number.MAX_SAFE_INTEGER) - 1);
  let window = Math.max(1, Math.min(page.limit, Math.floor(historyBytesMax / averageBytes)));
  // Concurrent reads share a byte limit: ask for what is probably enough first, then for the maximum.
  let bytesMax = Math.min(historyBytesMax, Math.max(readBytesMin, Math.ceil(2 * averageBytes * window)));
  while (count < page.limit && to >= state.first_seq && state.messages > 0) {
    const from = Math.max(state.first_seq, to - Math.min(window, page.limit - count) + 1);
    const timeoutMs = Math.max(1, end - performance.now());
    const read = await reader.read(stream, { from, to, bytesMax, timeoutMs });
    const messages = read.filter(({ seq }) => seq <= to);
    const isCut = (read.at(-1)?.seq ?? to) < to;
    if (isCut && window > 1) {
      if (bytesMax === historyBytesMax) window = Math.floor(window / 2);
      bytesMax = historyBytesMax;
      continue;
    }
    const kept = newestWithin(messages, count === 0 && found.length === 0, bytesLeft);
    found.unshift(kept);
    count += kept.length;
    bytesLeft -= kept.reduce((sum, { data }) => sum + data.byteLength, 0);
    if (kept.length < messages.length) break;
    to = from - 1;
  }
  const all = found.flat();
  const [first, last] = [all[0], all.at(-1)];
  if (first === undefined || last === undefined) return nothing;
  return {
    frames: all.map(({ data }) => data),
    firstSeq: first.seq,
    lastSeq: last.seq,
    more: first.seq > state.first_seq,
  };
}

/** The newest messages that fit; at least one if the result would be empty otherwise. */
function newestWithin(messages: readonly StoredMessage[], needsOne: boolean, bytesMax: number): StoredMessage[] {
  let start = messages.length;
  let bytes = 0;
  while (start > 0) {
    bytes += messages[start - 1]?.data.byteLength ?? 0;
    if (bytes > bytesMax && !(needsOne && start === messages.length)) break;
    start -= 1;
  }
  return messages.slice(start);
}
