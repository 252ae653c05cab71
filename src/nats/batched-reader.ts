/**
 * Batched reads of stored messages by direct get, without a consumer. They have no flow control, so a semaphore
 * weighted by bytes limits what they may bring in. Headers of stored messages are chosen by their publishers, so they
 * are parsed leniently.
 */
import { createInbox, type Msg, type NatsConnection } from "nats";
import { WeightedSemaphore } from "../lib/weighted-semaphore.ts";
import type { JetStream } from "./jetstream.ts";
import { lastMessage, type StreamMessage } from "./messages.ts";

/**
 * The most bytes that batched reads may bring in at once. They have no flow control: with 64 MiB in flight, nats-server
 * treats unibus as a slow consumer and closes the connection, which fails every read on it.
 */
const readsBytesMax = 28 * 1_048_576;

/** One stored message of a stream. */
export interface StoredMessage {
  readonly seq: number;
  readonly data: Uint8Array;
}

/** The first message of a batch: a sequence, or a time in milliseconds since the epoch. */
export type BatchStart = { readonly seq: number } | { readonly at: number };

/**
 * How much one batch reads. Units: `count` in messages; `bytesMax` in bytes including headers; `timeoutMs` in total.
 */
export interface BatchSize {
  readonly count: number;
  readonly bytesMax: number;
  readonly timeoutMs: number;
}

/** The messages of one batch, and how many messages the stream has after them. */
export interface Batch {
  readonly messages: readonly StoredMessage[];
  readonly pending: number;
}

interface Headers {
  readonly status: string;
  /** The last value of a header, because the publisher's own headers come first. */
  last(name: string): string | undefined;
}

const nothing: Batch = { messages: [], pending: 0 };

/** Parses the header block leniently: a publisher chose most of it, and nothing in it may make a read fail. */
function headersOf(message: Msg): Headers {
  const { data } = message;
  // Every message object of the library has `size()`, but its public type lacks it.
  const size = (message as Msg & { size(): number }).size();
  const bytes = size - message.subject.length - (message.reply?.length ?? 0) - data.byteLength;
  const block = Buffer.from(data.buffer, data.byteOffset - bytes, bytes).toString("latin1");
  return {
    status: /^NATS\/1\.0 (\d{3})/.exec(block)?.[1] ?? "",
    last: (name) => {
      const start = block.lastIndexOf(`\r\n${name}:`);
      if (start === -1) return undefined;
      const value = start + name.length + 3;
      return block.slice(value, block.indexOf("\r\n", value)).trim();
    },
  };
}

/** Reads runs of messages over one connection, as many at once as their size allows. */
export class BatchedReader {
  readonly #js: JetStream;
  readonly #reads = new WeightedSemaphore(readsBytesMax);

  constructor(js: JetStream) {
    this.#js = js;
  }

  /**
   * Reads messages of a stream in their order, from a start on, by batched direct get. Removed messages are skipped.
   * Shape: at most `count` messages; JetStream ends the batch early once `bytesMax` is reached, and then `pending` is
   * not 0. A replica that lags may not have the newest messages yet: compare with `last`.
   * Units: `bytesMax` in bytes including headers, exceeded by at most one message; `timeoutMs` in total.
   * Errors: unavailable for every reply that is neither a message nor "no message found".
   */
  read(stream: string, start: BatchStart, { count, bytesMax, timeoutMs }: BatchSize): Promise<Batch> {
    const from = "seq" in start ? { seq: start.seq } : { start_time: new Date(start.at).toISOString() };
    return this.#batch(stream, { ...from, batch: count, max_bytes: bytesMax }, bytesMax, timeoutMs);
  }

  /** The newest message at or before a sequence, of all subjects; null if there is none. Errors: unavailable. */
  async lastUpTo(stream: string, seq: number, { bytesMax, timeoutMs }: Omit<BatchSize, "count">) {
    const request = { multi_last: [">"], up_to_seq: seq, batch: 1, max_bytes: bytesMax };
    const { messages } = await this.#batch(stream, request, bytesMax, timeoutMs);
    return messages.at(-1) ?? null;
  }

  /** The newest message that exists, by the stream's leader; null if the stream is empty. Errors: unavailable. */
  last(stream: string): Promise<StreamMessage | null> {
    return lastMessage(this.#js, stream, ">");
  }

  #batch(stream: string, request: object, bytesMax: number, timeoutMs: number): Promise<Batch> {
    const end = performance.now() + timeoutMs;
    const late = () => this.#js.errors.unanswered("too many reads at once");
    return this.#reads.hold(bytesMax, timeoutMs, late, () =>
      this.#js.use((connection) => readBatch(connection, stream, request, end - performance.now())),
    );
  }
}

async function readBatch(
  connection: NatsConnection,
  stream: string,
  request: object,
  timeoutMs: number,
): Promise<Batch> {
  const inbox = createInbox();
  const messages: StoredMessage[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<Batch>();
  const subscription = connection.subscribe(inbox, {
    callback: (error, message) => {
      if (error !== null) return reject(error);
      const headers = headersOf(message);
      if (headers.last("Nats-Stream") !== undefined) {
        messages.push({ seq: Number(headers.last("Nats-Sequence")), data: message.data });
        return undefined;
      }
      if (headers.status === "404") return resolve(nothing);
      const pending = Number(headers.last("Nats-Num-Pending") ?? Number.NaN);
      const isWhole =
        Number(headers.last("Nats-Last-Sequence")) === messages.at(-1)?.seq && Number.isSafeInteger(pending);
      if (headers.status === "204" && isWhole) return resolve({ messages, pending });
      return reject(`status ${headers.status} after ${messages.length} messages`);
    },
  });
  const timer = setTimeout(reject, Math.max(0, timeoutMs), "timeout");
  try {
    connection.publish(`$JS.API.DIRECT.GET.${stream}`, JSON.stringify(request), { reply: inbox });
    return await promise;
  } finally {
    clearTimeout(timer);
    subscription.unsubscribe();
  }
}
