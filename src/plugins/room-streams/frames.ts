/**
 * Reads the history of one stream: backwards from its end or a sequence, and forwards from a sequence or a time.
 * Invariant: only messages that were erased are left out. A run of erased messages costs one step, however long it is.
 */
import type { FrameRun } from "../../contracts/streams.ts";
import type { BatchedReader, BatchStart, StoredMessage } from "../../nats/batched-reader.ts";
import { historyBytesMax } from "../../wire/api.ts";
import type { StreamInfo } from "./stream-info.ts";
import { firstBytes, StreamWindow } from "./window.ts";

const nothing: FrameRun = { frames: [], seqs: [], firstSeq: 0, lastSeq: 0, more: false };

const bytesOf = (messages: readonly StoredMessage[]): number =>
  messages.reduce((sum, { data }) => sum + data.byteLength, 0);

function runOf(messages: readonly StoredMessage[], more: boolean): FrameRun {
  const [first, last] = [messages[0], messages.at(-1)];
  if (first === undefined || last === undefined) return nothing;
  const seqs = messages.map(({ seq }) => seq);
  return { frames: messages.map(({ data }) => data), seqs, firstSeq: first.seq, lastSeq: last.seq, more };
}

/** The average size of a stream's messages, in bytes. */
function averageOf({ bytes, messages }: StreamInfo["state"]): number {
  return Math.max(1, bytes / Math.max(1, messages));
}

/** A window of sequences, `from` and `to` included, of which about `count` are messages. */
interface Window {
  readonly from: number;
  readonly to: number;
  readonly count: number;
  readonly bytesMax: number;
}

interface WindowRead {
  readonly messages: readonly StoredMessage[];
  /** Whether the read ended early, because it reached its byte limit. */
  readonly isCut: boolean;
  /** How many messages the stream has from the begin of the window on. */
  readonly newer: number;
}

/** Reads the messages of a window. `count` may be wrong: it only decides how much is read too much. */
async function readWindow(stream: StreamWindow, { from, to, count, bytesMax }: Window): Promise<WindowRead> {
  for (let wanted = count; ; ) {
    const { messages, pending } = await stream.read({ seq: from }, wanted, bytesMax);
    const lastRead = messages.at(-1)?.seq ?? from - 1;
    const found = { messages: messages.filter(({ seq }) => seq <= to), newer: messages.length + pending };
    if (lastRead >= to) return { ...found, isCut: false };
    const most = to - from + 1;
    if (messages.length === wanted && wanted < most) wanted = most;
    else if (pending > 0) return { ...found, isCut: true };
    else if (!(await stream.isBehind(({ seq }) => seq > lastRead))) return { ...found, isCut: false };
  }
}

/**
 * About how many messages a window has, by what the stream has after the first of them; 0 only if it has none. `newer`:
 * how many messages the stream has after the window.
 */
async function countIn(stream: StreamWindow, from: number, to: number, newer: number): Promise<number> {
  const { messages, pending } = await stream.read({ seq: from }, 1, firstBytes(1, 1));
  const [first] = messages;
  if (first !== undefined && first.seq > to) return 0;
  return Math.min(to - from + 1, Math.max(1, pending + messages.length - newer));
}

/** The sequence of the newest message at or before one, across a run of erased messages; 0 if there is none. */
async function lastUpTo(stream: StreamWindow, seq: number): Promise<number> {
  for (;;) {
    const found = (await stream.lastUpTo(seq))?.seq ?? 0;
    // A replica that lags names an older one.
    const between = { from: found + 1, to: seq, count: 1, bytesMax: firstBytes(1, 1) };
    if (found === seq || (await readWindow(stream, between)).messages.length === 0) return found;
  }
}

/**
 * Reads the last messages of a stream whose state is known.
 * It reads windows backwards, sized by the average message: JetStream truncates a window at its newer end, but the
 * newest messages are wanted. One window suffices for all but the largest frames, unless messages were erased.
 */
export async function lastFrames(
  reader: BatchedReader,
  name: string,
  state: StreamInfo["state"],
  page: { readonly limit: number; readonly before: number | null },
): Promise<FrameRun> {
  const stream = new StreamWindow(reader, name);
  const averageBytes = averageOf(state);
  const hasGaps = state.last_seq - state.first_seq + 1 > state.messages;
  const found: StoredMessage[][] = [];
  let count = 0;
  let bytesLeft = historyBytesMax;
  let to = Math.min(state.last_seq, (page.before ?? Number.MAX_SAFE_INTEGER) - 1);
  /** How many messages the stream has after `to`, as far as that is known. */
  let newer = page.before === null ? 0 : null;
  let size = Math.max(1, Math.min(page.limit, Math.floor(historyBytesMax / averageBytes)));
  // Concurrent reads share a byte limit: ask for what is probably enough first, then for the maximum.
  let bytesMax = firstBytes(size, averageBytes);
  while (count < page.limit && to >= state.first_seq && state.messages > 0) {
    const from = Math.max(state.first_seq, to - Math.min(size, page.limit - count) + 1);
    const all = to - from + 1;
    const probably = hasGaps && newer !== null && all > 1 ? await countIn(stream, from, to, newer) : all;
    const read =
      probably === 0
        ? { messages: [], isCut: false, newer }
        : await readWindow(stream, { from, to, count: probably, bytesMax });
    if (read.isCut && all > 1) {
      if (bytesMax === historyBytesMax) size = Math.floor(all / 2);
      bytesMax = historyBytesMax;
      continue;
    }
    const kept = newestWithin(read.messages, count === 0 && found.length === 0, bytesLeft);
    found.unshift(kept);
    count += kept.length;
    bytesLeft -= bytesOf(kept);
    if (kept.length < read.messages.length) break;
    newer = read.newer;
    to = read.messages.length === 0 && from > state.first_seq ? await lastUpTo(stream, from - 1) : from - 1;
  }
  const all = found.flat();
  return runOf(all, (all[0]?.seq ?? 0) > state.first_seq);
}

/**
 * Reads the first messages of a stream from a sequence or a time on. Units: `at` in milliseconds since the epoch.
 */
export async function nextFrames(
  reader: BatchedReader,
  name: string,
  state: StreamInfo["state"],
  page: { readonly limit: number; readonly from: BatchStart },
): Promise<FrameRun> {
  const stream = new StreamWindow(reader, name);
  const { limit, from } = page;
  let bytesMax = firstBytes(Math.min(limit, state.messages), averageOf(state));
  for (;;) {
    const { messages, pending } = await stream.read(from, limit, bytesMax);
    const isShort = messages.length < limit;
    if (isShort && pending > 0 && bytesMax < historyBytesMax) {
      bytesMax = historyBytesMax;
      continue;
    }
    const lastRead = messages.at(-1)?.seq;
    const isMissed = ({ seq, at }: { readonly seq: number; readonly at: number }): boolean =>
      lastRead !== undefined ? seq > lastRead : "seq" in from ? seq >= from.seq : at >= from.at;
    if (isShort && pending === 0 && (await stream.isBehind(isMissed))) continue;
    const kept = oldestWithin(messages, historyBytesMax);
    return runOf(kept, kept.length < messages.length || pending > 0);
  }
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

/** The oldest messages that fit; at least one if there is any. */
function oldestWithin(messages: readonly StoredMessage[], bytesMax: number): StoredMessage[] {
  let end = 0;
  let bytes = 0;
  while (end < messages.length) {
    bytes += messages[end]?.data.byteLength ?? 0;
    if (bytes > bytesMax && end > 0) break;
    end += 1;
  }
  return messages.slice(0, end);
}
