/**
 * Batched reads of stored messages by direct get, without a consumer. They have no flow control, so a semaphore
 * weighted by bytes limits what they may bring in. Headers of stored messages are chosen by their publishers, so they
 * are parsed leniently.
 */
import { createInbox, type Msg, type NatsConnection } from "nats";
import { WeightedSemaphore } from "../lib/weighted-semaphore.ts";
import type { JetStream } from "./jetstream.ts";

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

/** A range of sequences to read in one batch. Units: `bytesMax` in bytes including headers; `timeoutMs` in total. */
interface BatchedRead {
  readonly from: number;
  readonly to: number;
  readonly bytesMax: number;
  readonly timeoutMs: number;
}

interface Headers {
  readonly status: string;
  /** The last value of a header, because the publisher's own headers come first. */
  last(name: string): string | undefined;
}

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
   * Reads a stream from sequence `from` by batched direct get, without a consumer.
   * Shape: ascending, at most `to - from + 1` messages; JetStream truncates the newer end once `bytesMax` is reached.
   * Units: `bytesMax` in bytes including headers, exceeded by at most one message; `timeoutMs` in total.
   * Errors: unavailable for every reply that is neither a message nor "no message found".
   */
  read(stream: string, run: BatchedRead): Promise<StoredMessage[]> {
    const end = performance.now() + run.timeoutMs;
    const late = () => this.#js.errors.unanswered("too many reads at once");
    return this.#reads.hold(run.bytesMax, run.timeoutMs, late, () =>
      this.#js.use((connection) => readBatch(connection, stream, { ...run, timeoutMs: end - performance.now() })),
    );
  }
}

async function readBatch(connection: NatsConnection, stream: string, run: BatchedRead): Promise<StoredMessage[]> {
  const inbox = createInbox();
  const messages: StoredMessage[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<StoredMessage[]>();
  const subscription = connection.subscribe(inbox, {
    callback: (error, message) => {
      if (error !== null) return reject(error);
      const headers = headersOf(message);
      if (headers.last("Nats-Stream") !== undefined) {
        messages.push({ seq: Number(headers.last("Nats-Sequence")), data: message.data });
        return undefined;
      }
      if (headers.status === "404") return resolve([]);
      const isWhole = Number(headers.last("Nats-Last-Sequence")) === messages.at(-1)?.seq;
      if (headers.status === "204" && isWhole) return resolve(messages);
      return reject(`status ${headers.status} after ${messages.length} messages`);
    },
  });
  const timer = setTimeout(reject, Math.max(0, run.timeoutMs), "timeout");
  try {
    const request = { seq: run.from, batch: run.to - run.from + 1, max_bytes: run.bytesMax };
    connection.publish(`$JS.API.DIRECT.GET.${stream}`, JSON.stringify(request), { reply: inbox });
    return await promise;
  } finally {
    clearTimeout(timer);
    subscription.unsubscribe();
  }
}
