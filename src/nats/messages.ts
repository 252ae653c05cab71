import { type ApiReply, isCode, type JetStream, jsCode } from "./jetstream.ts";

/** A message read from a stream. */
export interface StreamMessage {
  readonly seq: number;
  readonly data: Uint8Array;
  /** When it was written, by the server's clock, in milliseconds since the epoch. */
  readonly at: number;
}

/** How long a read of one message may take, in milliseconds. */
const readTimeoutMs = 5_000;

/** Reads the last message of a subject from the stream's leader, or null if there is none. Errors: unavailable. */
export function lastMessage(js: JetStream, stream: string, subject: string): Promise<StreamMessage | null> {
  return fromLeader(js, stream, { last_by_subj: subject });
}

/**
 * Reads the first message of a subject at or after a sequence, from any replica and otherwise from the leader. Errors:
 * unavailable.
 */
export async function nextMessage(
  js: JetStream,
  stream: string,
  subject: string,
  from: number,
): Promise<StreamMessage | null> {
  const query = { seq: from, next_by_subj: subject };
  const reply = await js.use((connection) =>
    connection.request(`$JS.API.DIRECT.GET.${stream}`, JSON.stringify(query), { timeout: readTimeoutMs }),
  );
  const seq = Number(reply.headers?.last("Nats-Sequence") || Number.NaN);
  // A lagging replica does not have the message yet.
  if (!Number.isSafeInteger(seq)) return fromLeader(js, stream, query);
  return { seq, data: reply.data, at: Date.parse(reply.headers?.last("Nats-Time-Stamp") ?? "") };
}

async function fromLeader(js: JetStream, stream: string, query: unknown): Promise<StreamMessage | null> {
  type Answer = ApiReply & {
    readonly message?: { readonly seq: number; readonly data?: string; readonly time: string };
  };
  const reply = await js.call<Answer>(`STREAM.MSG.GET.${stream}`, query);
  if (isCode(reply, jsCode.noMessage)) return null;
  const { message } = js.errors.expectReply(reply);
  if (message === undefined) throw js.errors.unanswered("a reply without a message");
  return { seq: message.seq, data: Buffer.from(message.data ?? "", "base64"), at: Date.parse(message.time) };
}
