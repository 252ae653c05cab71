/**
 * Calls to JetStream over one NATS connection: API calls, publishes and subscriptions. It limits how many are in
 * flight, because nats-server drops requests when too many queue up, and gives each a timeout. When the connection
 * breaks, everything in flight fails at once. Only reads are sent again; a change is sent once, and a caller that gets
 * `unavailable` does not know whether it took effect. An error that JetStream itself reports is in the reply, so that
 * callers can handle the codes they expect.
 */
import { Events, headers, type Msg, type MsgHdrs, type NatsConnection } from "nats";
import { Semaphore } from "../lib/semaphore.ts";
import { UnibusError } from "../wire/errors.ts";

/** The timeout of one JetStream call, in milliseconds. */
const callTimeoutMs = 5_000;
/**
 * The timeout after which an unanswered read is sent again, in milliseconds: a departing leader drops pending requests.
 */
const readTimeoutMs = 1_600;
/** The most calls in flight over one connection. With ten thousand pending, nats-server drops all of them. */
const callsAtOnceMax = 512;
/** The most calls that may wait for a slot. */
const callsWaitingMax = 50_000;

/** The error codes of JetStream that callers handle. */
export const jsCode = {
  wrongLastSequence: 10_071,
  /** The same, or another write of the subject is in progress. */
  wrongLastSequenceNow: 10_164,
  noMessage: 10_037,
  /** A message to delete does not exist. */
  sequenceNotFound: 10_043,
  /** A message could not be deleted, for example because another request deleted it at the same time. */
  deleteFailed: 10_057,
  streamNotFound: 10_059,
  consumerNotFound: 10_014,
  nameInUse: 10_058,
  subjectsOverlap: 10_065,
  replicasNotSupported: 10_074,
  noPeers: 10_005,
  clusterNotAvailable: 10_008,
  notLeader: 10_009,
  streamOffline: 10_118,
  /**
   * An earlier message of the batch was dropped, for example while too many batches are in progress. Nothing is stored.
   */
  batchIncomplete: 10_176,
  tooManyBatches: 10_210,
  noSpaceInAccount: 10_002,
  noResources: 10_023,
  noSpace: 10_047,
} as const;

/** The codes that report that no space is left. */
export const fullCodes: readonly number[] = [jsCode.noSpaceInAccount, jsCode.noResources, jsCode.noSpace];

/** JetStream's reply to an API call. */
export interface ApiReply {
  readonly error?: { readonly code: number; readonly err_code?: number; readonly description?: string };
}

/** JetStream's reply to a publish. */
export interface PublishReply extends ApiReply {
  readonly stream: string;
  readonly seq: number;
}

/** A message to publish into a stream. */
export interface Draft {
  readonly subject: string;
  readonly payload: string | Uint8Array;
  /** Header values by name. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** Reports whether a reply is an error with one of these codes. */
export function isCode({ error }: ApiReply, ...codes: readonly number[]): boolean {
  return error !== undefined && codes.includes(error.err_code ?? 0);
}

/** The errors that a user of JetStream throws. */
export interface JetStreamErrors {
  /** The error for a missing or unusable reply: unavailable. */
  unanswered(cause: unknown): UnibusError;
  /** Returns a reply that is not an error, or is one with an expected code. Errors: unavailable. */
  expectReply<R extends ApiReply>(reply: R, ...codes: readonly number[]): R;
}

/**
 * The errors of one user of JetStream. `message`: that of `unanswered`. `full`: the message when no space is left;
 * without it, that is an error like any other.
 */
export function jetStreamErrors(message: string, full?: string): JetStreamErrors {
  const unanswered = (cause: unknown) => new UnibusError("unavailable", message, { cause });
  return {
    unanswered,
    expectReply(reply, ...codes) {
      if (reply.error === undefined || isCode(reply, ...codes)) return reply;
      if (full === undefined || !isCode(reply, ...fullCodes)) throw unanswered(reply.error);
      throw new UnibusError("unavailable", full, { cause: reply.error });
    },
  };
}

function headersOf(fields: Readonly<Record<string, string>>): MsgHdrs {
  const made = headers();
  for (const [name, value] of Object.entries(fields)) made.set(name, value);
  return made;
}

/**
 * JetStream over one connection. Every call has a timeout; calls in flight fail at once when the connection breaks.
 * Errors: unavailable, from `errors`, for a missing or unusable reply.
 */
export class JetStream {
  readonly #connection: NatsConnection;
  readonly #inFlight = new Set<(error: unknown) => void>();
  readonly #slots = new Semaphore(callsAtOnceMax, callsWaitingMax);
  #isUp = true;

  constructor(
    connection: NatsConnection,
    readonly errors: JetStreamErrors,
  ) {
    this.#connection = connection;
    void this.#watch();
  }

  /** Calls the API once. Units: `timeoutMs` in milliseconds. */
  call<R extends ApiReply>(subject: string, body: unknown = "", timeoutMs = callTimeoutMs): Promise<R> {
    const payload = body === "" ? "" : JSON.stringify(body);
    return this.use(async (connection) => {
      const reply = await connection.request(`$JS.API.${subject}`, payload, { timeout: timeoutMs });
      return reply.json<R>();
    });
  }

  /** Calls the API for something that changes nothing: the call is sent again if no reply comes. */
  async read<R extends ApiReply>(subject: string, body: unknown = ""): Promise<R> {
    const end = performance.now() + callTimeoutMs;
    for (;;) {
      try {
        return await this.call<R>(subject, body, Math.min(readTimeoutMs, end - performance.now()));
      } catch (error) {
        const { cause } = error as { cause?: { code?: unknown } };
        if (cause?.code !== "TIMEOUT" || end - performance.now() < readTimeoutMs) throw error;
      }
    }
  }

  /** Publishes into a stream, once. The caller may use the payload's memory again once this settles. */
  publish(draft: Draft, timeoutMs = callTimeoutMs): Promise<PublishReply> {
    return this.publishBatch([draft], timeoutMs);
  }

  /** Publishes several messages atomically, once: all are stored, or none. One message needs no batch. */
  publishBatch(drafts: readonly Draft[], timeoutMs = callTimeoutMs): Promise<PublishReply> {
    const numbered = drafts.length === 1 ? [...drafts] : numberedDrafts(drafts);
    const last = numbered.pop() as Draft;
    return this.use(async (connection) => {
      for (const { subject, payload, headers: fields = {} } of numbered) {
        connection.publish(subject, payload, { headers: headersOf(fields) });
      }
      const options = { timeout: timeoutMs, headers: headersOf(last.headers ?? {}) };
      return (await connection.request(last.subject, last.payload, options)).json<PublishReply>();
    });
  }

  /** Publishes an empty message without a reply. Has no effect on a closed connection. */
  send(subject: string): void {
    if (!this.#connection.isClosed()) this.#connection.publish(subject);
  }

  /** Subscribes to a subject. Call the returned function to unsubscribe. Errors: unavailable on a closed connection. */
  subscribe(subject: string, take: (message: Msg) => void): () => void {
    try {
      const subscription = this.#connection.subscribe(subject, {
        callback: (error, message) => {
          if (error === null) take(message);
        },
      });
      return () => {
        if (!this.#connection.isClosed()) subscription.unsubscribe();
      };
    } catch (error) {
      throw this.errors.unanswered(error);
    }
  }

  /**
   * Runs work over the connection when one of the slots for calls is free. Fails when the connection breaks, without
   * waiting for the work to end. Errors: unavailable for every error of the work.
   */
  async use<T>(work: (connection: NatsConnection) => Promise<T>): Promise<T> {
    try {
      return await this.#slots.run(() => this.#guarded(work));
    } catch (error) {
      throw this.errors.unanswered(error);
    }
  }

  async #guarded<T>(work: (connection: NatsConnection) => Promise<T>): Promise<T> {
    const { promise: broken, reject } = Promise.withResolvers<never>();
    this.#inFlight.add(reject);
    try {
      if (!this.#isUp || this.#connection.isClosed()) throw new Error("disconnected");
      return await Promise.race([work(this.#connection), broken]);
    } finally {
      this.#inFlight.delete(reject);
    }
  }

  async #watch(): Promise<void> {
    for await (const { type } of this.#connection.status()) {
      if (type === Events.Reconnect) this.#isUp = true;
      if (type !== Events.Disconnect) continue;
      this.#isUp = false;
      for (const fail of this.#inFlight) fail(new Error("disconnected"));
    }
  }
}

/** Adds the headers of an atomic batch. */
function numberedDrafts(drafts: readonly Draft[]): Draft[] {
  const id = crypto.randomUUID();
  return drafts.map((draft, index) => ({
    ...draft,
    headers: {
      ...draft.headers,
      "Nats-Batch-Id": id,
      "Nats-Batch-Sequence": String(index + 1),
      ...(index === drafts.length - 1 ? { "Nats-Batch-Commit": "1" } : {}),
    },
  }));
}
