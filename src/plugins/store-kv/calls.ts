/**
 * Calls to JetStream over one NATS connection: API reads, API changes, and publishes. It limits how many are in flight,
 * because nats-server drops requests when too many queue up, and gives each a timeout. When the connection breaks,
 * every call in flight fails at once. Only reads are retried; a change is sent once, and a caller that gets
 * `unavailable` does not know whether it took effect. Every other file of this folder goes through it.
 */
import { Events, headers, type Msg, type MsgHdrs, type NatsConnection } from "nats";
import { UnibusError } from "../../wire/errors.ts";

/** The total timeout of one JetStream call, in milliseconds. */
const callTimeoutMs = 5_000;
/**
 * The timeout after which an unanswered read is sent again, in milliseconds: a departing leader drops pending requests.
 */
const readTimeoutMs = 1_600;
/** The most calls in flight. With ten thousand pending, nats-server drops all of them. */
const callsAtOnceMax = 512;
/** The most calls that may wait for a slot. */
const callsWaitingMax = 50_000;
/** The most parallel calls of one operation, so that a large one does not block the small ones. */
const sideBySideMax = 64;

/** JetStream error codes that the store handles specially. */
export const kvCode = {
  wrongLastSequence: 10_071,
  /** The same, or a write of the same key is in flight. */
  wrongLastSequenceNow: 10_164,
  noMessage: 10_037,
  streamNotFound: 10_059,
  replicasNotSupported: 10_074,
  noSpaceInAccount: 10_002,
  noResources: 10_023,
  noSpace: 10_047,
} as const;

/** JetStream's reply to an API call. */
export interface CallReply {
  readonly error?: { readonly code: number; readonly err_code?: number; readonly description?: string };
}

/** JetStream's reply to a publish. */
export interface PublishReply extends CallReply {
  readonly stream: string;
  readonly seq: number;
}

/** The error for a missing or unusable reply of JetStream. */
export function unanswered(cause: unknown): UnibusError {
  return new UnibusError("unavailable", "the store is unavailable (try again)", { cause });
}

/** Reports whether a reply is an error with one of these codes. */
export function isCode(reply: CallReply, ...codes: readonly number[]): boolean {
  return reply.error !== undefined && codes.includes(reply.error.err_code ?? 0);
}

/** The error for a store without free space. */
function full(cause: unknown): UnibusError {
  const message = "the store is full (delete rooms or blobs, or raise nats-embedded.ctl_bytes_max)";
  return new UnibusError("unavailable", message, { cause });
}

/** Returns a reply that is not an error, or is one with an expected code. Errors: unavailable. */
export function expectReply<R extends CallReply>(reply: R, ...codes: readonly number[]): R {
  if (reply.error === undefined || isCode(reply, ...codes)) return reply;
  const isFull = isCode(reply, kvCode.noSpaceInAccount, kvCode.noResources, kvCode.noSpace);
  throw isFull ? full(reply.error) : unanswered(reply.error);
}

/**
 * Runs `work` for each item with limited concurrency, and returns the results in order. Errors: the first of `work`.
 */
export async function sideBySide<A, B>(items: readonly A[], work: (item: A) => Promise<B>): Promise<B[]> {
  const results: B[] = new Array(items.length);
  let next = 0;
  const run = async (): Promise<void> => {
    for (let at = next++; at < items.length; at = next++) results[at] = await work(items[at] as A);
  };
  await Promise.all(Array.from({ length: Math.min(sideBySideMax, items.length) }, run));
  return results;
}

/**
 * JetStream over one connection. Every call has a timeout; calls in flight fail at once when the connection breaks.
 * Errors: unavailable for a missing or unusable reply. JetStream's own errors are in the reply: see `expectReply`.
 */
export class Calls {
  readonly #connection: NatsConnection;
  readonly #underWay = new Set<(error: unknown) => void>();
  readonly #waiting: (() => void)[] = [];
  #free = callsAtOnceMax;
  #isUp = true;

  constructor(connection: NatsConnection) {
    this.#connection = connection;
    void this.#watch();
  }

  /** An API call that changes nothing. It is sent again if no reply comes. */
  async read<R extends CallReply>(subject: string, body: unknown): Promise<R> {
    const end = performance.now() + callTimeoutMs;
    for (;;) {
      const timeout = Math.min(readTimeoutMs, end - performance.now());
      try {
        return await this.#request<R>(`$JS.API.${subject}`, JSON.stringify(body), { timeout });
      } catch (error) {
        const isTimeout = (error as { code?: unknown } | null)?.code === "TIMEOUT";
        if (!isTimeout || end - performance.now() < readTimeoutMs) throw unanswered(error);
      }
    }
  }

  /** An API call that changes something. It is sent once. */
  async call<R extends CallReply>(subject: string, body: unknown, timeoutMs = callTimeoutMs): Promise<R> {
    try {
      return await this.#request<R>(`$JS.API.${subject}`, JSON.stringify(body), { timeout: timeoutMs });
    } catch (error) {
      throw unanswered(error);
    }
  }

  /** Publishes into a stream, once. `fields` are the headers by name. */
  async publish(
    subject: string,
    payload: string,
    fields: Readonly<Record<string, string>>,
    timeoutMs = callTimeoutMs,
  ): Promise<PublishReply> {
    const made = headers();
    for (const [name, value] of Object.entries(fields)) made.set(name, value);
    try {
      return await this.#request<PublishReply>(subject, payload, { timeout: timeoutMs, headers: made });
    } catch (error) {
      throw unanswered(error);
    }
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
      throw unanswered(error);
    }
  }

  async #request<R>(subject: string, payload: string, options: { timeout: number; headers?: MsgHdrs }): Promise<R> {
    await this.#turn();
    const { promise: broken, reject } = Promise.withResolvers<never>();
    this.#underWay.add(reject);
    try {
      if (!this.#isUp || this.#connection.isClosed()) throw new Error("disconnected");
      const reply = await Promise.race([this.#connection.request(subject, payload, options), broken]);
      return reply.json<R>();
    } finally {
      this.#underWay.delete(reject);
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }

  async #turn(): Promise<void> {
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    if (this.#waiting.length >= callsWaitingMax) throw new Error("too many calls are waiting");
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push(resolve);
    await promise;
  }

  async #watch(): Promise<void> {
    for await (const { type } of this.#connection.status()) {
      if (type === Events.Reconnect) this.#isUp = true;
      if (type !== Events.Disconnect) continue;
      this.#isUp = false;
      for (const fail of this.#underWay) fail(new Error("disconnected"));
    }
  }
}
