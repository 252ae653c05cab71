/**
 * Calls to JetStream's API for the blob store, over one connection.
 * Every call has a timeout, and pending calls fail as soon as the connection breaks. A failed call throws unavailable;
 * an error that JetStream itself reports is in the reply, so that callers can handle the codes they expect. All other
 * files of blobs-nats use this.
 */
import { Events, headers, type Msg, type MsgHdrs, type NatsConnection } from "nats";
import { UnibusError } from "../../wire/errors.ts";

/** Timeout for one call, in milliseconds. */
const callTimeoutMs = 5_000;

/** JetStream error codes that callers handle. */
export const blobCode = {
  wrongLastSequence: 10_071,
  /** The same, or another write of the subject is in progress. */
  wrongLastSequenceNow: 10_164,
  noMessage: 10_037,
  streamNotFound: 10_059,
  /**
   * An earlier message of the batch was dropped, for example while too many batches are in progress. Nothing is stored.
   */
  batchIncomplete: 10_176,
  tooManyBatches: 10_210,
  noSpaceInAccount: 10_002,
  noResources: 10_023,
  noSpace: 10_047,
} as const;

/** A reply of the JetStream API. */
export interface Reply {
  readonly error?: { readonly code: number; readonly err_code?: number; readonly description?: string };
}

/** JetStream's reply to a publish. */
export interface Stored extends Reply {
  readonly stream: string;
  readonly seq: number;
}

/** A message read from a stream. */
export interface Found {
  readonly seq: number;
  readonly data: Uint8Array;
  /** When it was written, by the server's clock, in milliseconds. */
  readonly at: number;
}

/** A message to publish into a stream. */
export interface Draft {
  readonly subject: string;
  readonly payload: string | Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The error for a call without a usable reply. */
export function unanswered(cause: unknown): UnibusError {
  return new UnibusError("unavailable", "the blob store is unavailable (try again)", { cause });
}

/** Whether a reply is an error with one of the codes. */
export function isCode({ error }: Reply, ...codes: readonly number[]): boolean {
  return error !== undefined && codes.includes(error.err_code ?? 0);
}

/** Returns a reply that is not an error or has an expected code. Errors: unavailable. */
export function expectReply<R extends Reply>(reply: R, ...codes: readonly number[]): R {
  if (reply.error !== undefined && !isCode(reply, ...codes)) throw unanswered(reply.error);
  return reply;
}

function headersOf(fields: Readonly<Record<string, string>>): MsgHdrs {
  const made = headers();
  for (const [name, value] of Object.entries(fields)) made.set(name, value);
  return made;
}

/**
 * Calls JetStream over one connection. Every call has a timeout, and pending calls fail when the connection breaks.
 * Errors: unavailable if there is no usable reply. JetStream's own errors are in the reply: see `expectReply`.
 */
export class Calls {
  readonly #connection: NatsConnection;
  readonly #underWay = new Set<(error: unknown) => void>();
  #isUp = true;

  constructor(connection: NatsConnection) {
    this.#connection = connection;
    void this.#watch();
  }

  /** Calls the JetStream API. */
  async api<R extends Reply>(subject: string, body: unknown, timeoutMs = callTimeoutMs): Promise<R> {
    return (await this.#request(`$JS.API.${subject}`, JSON.stringify(body), timeoutMs)).json<R>();
  }

  /** Publishes into a stream. The caller may reuse the payload once this settles. */
  async publish({ subject, payload, headers: fields = {} }: Draft): Promise<Stored> {
    return (await this.#request(subject, payload, callTimeoutMs, headersOf(fields))).json<Stored>();
  }

  /** Publishes several messages atomically: all are stored, or none. */
  async batch(drafts: readonly Draft[]): Promise<Stored> {
    const id = crypto.randomUUID();
    const numbered = drafts.map((draft, index) => ({
      ...draft,
      headers: { ...draft.headers, "Nats-Batch-Id": id, "Nats-Batch-Sequence": String(index + 1) },
    }));
    const last = numbered.pop() as (typeof numbered)[number];
    for (const { subject, payload, headers: fields } of numbered) {
      this.#checkUp();
      this.#connection.publish(subject, payload, { headers: headersOf(fields) });
    }
    return this.publish({ ...last, headers: { ...last.headers, "Nats-Batch-Commit": "1" } });
  }

  /** The last message of a subject, read from the stream's leader, or null if there is none. */
  last(stream: string, subject: string): Promise<Found | null> {
    return this.#get(stream, { last_by_subj: subject });
  }

  /** The first message of a subject at or after a sequence, from any replica and otherwise from the leader. */
  async next(stream: string, subject: string, from: number): Promise<Found | null> {
    const query = { seq: from, next_by_subj: subject };
    const reply = await this.#request(`$JS.API.DIRECT.GET.${stream}`, JSON.stringify(query), callTimeoutMs);
    const seq = Number(reply.headers?.last("Nats-Sequence") || Number.NaN);
    // A lagging replica does not have the message yet.
    if (!Number.isSafeInteger(seq)) return this.#get(stream, query);
    return { seq, data: reply.data, at: Date.parse(reply.headers?.last("Nats-Time-Stamp") ?? "") };
  }

  async #get(stream: string, query: unknown): Promise<Found | null> {
    type Answer = Reply & {
      readonly message?: { readonly seq: number; readonly data?: string; readonly time: string };
    };
    const reply = await this.api<Answer>(`STREAM.MSG.GET.${stream}`, query);
    if (isCode(reply, blobCode.noMessage)) return null;
    const { message } = expectReply(reply);
    if (message === undefined) throw unanswered("a reply without a message");
    return { seq: message.seq, data: Buffer.from(message.data ?? "", "base64"), at: Date.parse(message.time) };
  }

  async #request(subject: string, payload: string | Uint8Array, timeout: number, fields?: MsgHdrs): Promise<Msg> {
    this.#checkUp();
    const { promise: broken, reject } = Promise.withResolvers<never>();
    this.#underWay.add(reject);
    try {
      const options = fields === undefined ? { timeout } : { timeout, headers: fields };
      return await Promise.race([this.#connection.request(subject, payload, options), broken]);
    } catch (error) {
      throw unanswered(error);
    } finally {
      this.#underWay.delete(reject);
    }
  }

  #checkUp(): void {
    if (!this.#isUp || this.#connection.isClosed()) throw unanswered("disconnected");
  }

  async #watch(): Promise<void> {
    for await (const { type } of this.#connection.status()) {
      if (type === Events.Reconnect) this.#isUp = true;
      if (type !== Events.Disconnect) continue;
      this.#isUp = false;
      for (const fail of this.#underWay) fail("disconnected");
    }
  }
}
