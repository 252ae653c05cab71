import { Events, headers, type Msg, type MsgHdrs, type NatsConnection } from "nats";
import { UnibusError } from "../../wire/errors.ts";

/** How long one call of JetStream may take in all, in milliseconds. */
const callTimeoutMs = 5_000;
/** How long an answer to a read is waited for before it is asked again: a leader that goes drops what it was asked. */
const readTimeoutMs = 1_600;
/** Calls under way at once. With ten thousand waiting nats-server drops all of them. */
const callsAtOnceMax = 512;
/** Calls that may wait for their turn. */
const callsWaitingMax = 50_000;
/** Work of one operation under way at once, so that a large one does not hold up the small ones. */
const sideBySideMax = 64;

/** Codes of JetStream that mean something other than failure. */
export const kvCode = {
  wrongLastSequence: 10_071,
  /** The same, or that a write of the same key is under way. */
  wrongLastSequenceNow: 10_164,
  noMessage: 10_037,
  streamNotFound: 10_059,
  replicasNotSupported: 10_074,
  noSpaceInAccount: 10_002,
  noResources: 10_023,
  noSpace: 10_047,
} as const;

/** What JetStream answers to a call. */
export interface CallReply {
  readonly error?: { readonly code: number; readonly err_code?: number; readonly description?: string };
}

/** What JetStream answers to a publish. */
export interface PublishReply extends CallReply {
  readonly stream: string;
  readonly seq: number;
}

/** The error for whatever JetStream does that is no answer. */
export function unanswered(cause: unknown): UnibusError {
  return new UnibusError("unavailable", "the store does not answer (try again)", { cause });
}

/** Whether a reply is an error of that code. */
export function isCode(reply: CallReply, ...codes: readonly number[]): boolean {
  return reply.error !== undefined && codes.includes(reply.error.err_code ?? 0);
}

/** The error for a store that takes nothing more. */
function full(cause: unknown): UnibusError {
  const message = "the store is full (delete rooms or blobs, or raise nats-embedded.ctl_bytes_max)";
  return new UnibusError("unavailable", message, { cause });
}

/** Passes a reply on that is no error, or one with an expected code. Errors: unavailable. */
export function expectReply<R extends CallReply>(reply: R, ...codes: readonly number[]): R {
  if (reply.error === undefined || isCode(reply, ...codes)) return reply;
  const isFull = isCode(reply, kvCode.noSpaceInAccount, kvCode.noResources, kvCode.noSpace);
  throw isFull ? full(reply.error) : unanswered(reply.error);
}

/** Runs `work` for each of many, some side by side. Gives the results in order. Errors: the first of `work`. */
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
 * JetStream over one connection. Every call is bounded; what is under way when the connection breaks fails at once.
 * Errors: unavailable for whatever is no answer. JetStream's own errors are in the reply: see `expectReply`.
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

  /** A call of the API that changes nothing: asked again where no answer comes. */
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

  /** A call of the API that changes something, made once. */
  async call<R extends CallReply>(subject: string, body: unknown, timeoutMs = callTimeoutMs): Promise<R> {
    try {
      return await this.#request<R>(`$JS.API.${subject}`, JSON.stringify(body), { timeout: timeoutMs });
    } catch (error) {
      throw unanswered(error);
    }
  }

  /** A publish into a stream, made once, with headers by name. */
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

  /** Sends an empty message that nothing answers. On a closed connection it does nothing. */
  send(subject: string): void {
    if (!this.#connection.isClosed()) this.#connection.publish(subject);
  }

  /** Hears what is sent to a subject, until what it gives is called. Errors: unavailable on a closed connection. */
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
    if (this.#waiting.length >= callsWaitingMax) throw new Error("too many calls wait");
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
