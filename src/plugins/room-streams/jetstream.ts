/**
 * The JetStream API over one NATS connection, for the room streams: API calls, and batched reads of stored messages.
 * Each has a timeout, and everything in flight fails at once when the connection breaks. Batched reads have no flow
 * control, so a semaphore weighted by bytes limits what they may bring in. Headers of stored messages are chosen by
 * their publishers, so they are parsed leniently.
 */
import { createInbox, Events, type Msg, type NatsConnection } from "nats";
import { WeightedSemaphore } from "../../lib/weighted-semaphore.ts";
import { UnibusError } from "../../wire/errors.ts";

/** The timeout of one API call, in milliseconds. */
const callTimeoutMs = 5_000;

/**
 * The most bytes that batched reads may bring in at once. They have no flow control: with 64 MiB in flight, nats-server
 * treats unibus as a slow consumer and closes the connection, which fails every read on it.
 */
const readsBytesMax = 28 * 1_048_576;

/** JetStream error codes that this plugin handles specially. */
export const jsCode = {
  streamNotFound: 10059,
  consumerNotFound: 10014,
  nameInUse: 10058,
  subjectsOverlap: 10065,
  noPeers: 10005,
  clusterNotAvailable: 10008,
  notLeader: 10009,
  streamOffline: 10118,
} as const;

/** JetStream's reply to an API call. */
export interface ApiReply {
  readonly error?: { readonly code: number; readonly err_code?: number; readonly description?: string };
}

/** A stream, as JetStream describes it. */
export interface StreamInfo extends ApiReply {
  readonly config: Readonly<Record<string, unknown>>;
  /** RFC 3339. */
  readonly created: string;
  /** Where the stream has copies: which node leads it; no name while that is being decided. */
  readonly cluster?: { readonly leader?: string };
  readonly state: {
    readonly messages: number;
    readonly bytes: number;
    readonly first_seq: number;
    readonly last_seq: number;
  };
}

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

/** The error for a missing or unusable reply of JetStream. */
export function unanswered(cause: unknown): UnibusError {
  return new UnibusError("unavailable", "the message store is unavailable (try again)", { cause });
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

/** The JetStream API over one connection. Everything in flight fails at once when the connection breaks. */
export class JetStream {
  readonly #connection: NatsConnection;
  readonly #waiting = new Set<(error: unknown) => void>();
  readonly #reads = new WeightedSemaphore(readsBytesMax);
  #isUp = true;

  constructor(connection: NatsConnection) {
    this.#connection = connection;
    void this.#watch();
  }

  /**
   * Makes one API call. Units: `timeoutMs` in milliseconds.
   * Errors: unavailable if there is no reply. JetStream's own errors are in the reply: see `refuseOthers`.
   */
  call<R extends ApiReply>(subject: string, body: unknown = "", timeoutMs = callTimeoutMs): Promise<R> {
    const payload = body === "" ? "" : JSON.stringify(body);
    return this.#guarded(async () => {
      const reply = await this.#connection.request(`$JS.API.${subject}`, payload, { timeout: timeoutMs });
      return reply.json<R>();
    });
  }

  /**
   * Reads a stream from sequence `from` by batched direct get, without a consumer.
   * Shape: ascending, at most `to - from + 1` messages; JetStream truncates the newer end once `bytesMax` is reached.
   * Units: `bytesMax` in bytes including headers, exceeded by at most one message; `timeoutMs` in total.
   * Errors: unavailable for every reply that is neither a message nor "no message found".
   */
  read(stream: string, run: BatchedRead): Promise<StoredMessage[]> {
    const end = performance.now() + run.timeoutMs;
    const late = () => unanswered("too many reads at once");
    return this.#reads.hold(run.bytesMax, run.timeoutMs, late, () =>
      this.#guarded(() => this.#batch(stream, { ...run, timeoutMs: end - performance.now() })),
    );
  }

  async #batch(stream: string, run: BatchedRead): Promise<StoredMessage[]> {
    const inbox = createInbox();
    const messages: StoredMessage[] = [];
    const { promise, resolve, reject } = Promise.withResolvers<StoredMessage[]>();
    const subscription = this.#connection.subscribe(inbox, {
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
      this.#connection.publish(`$JS.API.DIRECT.GET.${stream}`, JSON.stringify(request), { reply: inbox });
      return await promise;
    } finally {
      clearTimeout(timer);
      subscription.unsubscribe();
    }
  }

  async #guarded<T>(work: () => Promise<T>): Promise<T> {
    if (!this.#isUp || this.#connection.isClosed()) throw unanswered("disconnected");
    const { promise: broken, reject } = Promise.withResolvers<never>();
    this.#waiting.add(reject);
    try {
      return await Promise.race([work(), broken]);
    } catch (error) {
      throw unanswered(error);
    } finally {
      this.#waiting.delete(reject);
    }
  }

  async #watch(): Promise<void> {
    for await (const { type } of this.#connection.status()) {
      if (type === Events.Reconnect) this.#isUp = true;
      if (type !== Events.Disconnect) continue;
      this.#isUp = false;
      for (const fail of this.#waiting) fail("disconnected");
    }
  }
}

/** Why a stream cannot be used yet although JetStream describes it. */
const noLeader = { code: "NO_LEADER" } as const;

/** Returns a stream that has a leader. Errors: unavailable. */
export function refuseLeaderless(info: StreamInfo): StreamInfo {
  if (info.cluster?.leader) return info;
  throw unanswered(noLeader);
}

const passingCodes: readonly unknown[] = [
  jsCode.noPeers,
  jsCode.clusterNotAvailable,
  jsCode.notLeader,
  jsCode.streamOffline,
];

/**
 * Whether a call failed as it does while the leader of a stream, or of all of JetStream, is being elected: no answer
 * in time, or one that says so.
 */
export function isElection(error: unknown): boolean {
  const cause = (error as { cause?: { code?: unknown; err_code?: unknown } } | null)?.cause;
  return (
    cause === noLeader || cause?.code === "TIMEOUT" || cause?.code === "503" || passingCodes.includes(cause?.err_code)
  );
}

/** Returns a reply that is not an error, or is one with an expected code. Errors: unavailable. */
export function refuseOthers<R extends ApiReply>(reply: R, ...expected: readonly number[]): R {
  const code = reply.error?.err_code;
  if (reply.error !== undefined && (code === undefined || !expected.includes(code))) throw unanswered(reply.error);
  return reply;
}
