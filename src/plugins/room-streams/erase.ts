/** Single stored messages of a room: reading one by its sequence, and erasing it. */
import type { StoredFrame, StreamRoom } from "../../contracts/streams.ts";
import { type ApiReply, type JetStream, jsCode } from "../../nats/jetstream.ts";
import { streamName } from "../../wire/names.ts";
import { expectReply, streamErrors } from "./errors.ts";
import type { StreamInfo } from "./stream-info.ts";

/** A stored message, as JetStream returns it. `data` is absent for an empty one. */
interface StoredMessage {
  readonly subject: string;
  readonly seq: number;
  readonly data?: string;
}

/** What decides whether a message belongs to a room. */
interface RoomPlace {
  readonly subject: string;
  /** The lowest sequence that can belong to the room. */
  readonly lowestSeq: number;
}

/**
 * Whether a message belongs to a room, by what the store says of it: no sequence that a user names is believed without
 * this check. Source: docs/protocol/history.md.
 */
function isOfRoom({ subject, seq }: Pick<StoredMessage, "subject" | "seq">, room: RoomPlace): boolean {
  return subject === room.subject && seq >= room.lowestSeq;
}

/** Whether JetStream can erase messages of a stream: not if an earlier version created it, and that never changes. */
function isErasable({ config }: StreamInfo): boolean {
  return config.deny_delete !== true;
}

/**
 * Reads the message of a sequence from the stream's leader; null if the room has none there, or no longer.
 * Errors: unavailable.
 */
export async function storedFrame(
  js: JetStream,
  info: StreamInfo,
  { roomId, subject }: StreamRoom,
  seq: number,
): Promise<StoredFrame | null> {
  type Reply = ApiReply & { readonly message?: StoredMessage };
  const reply = expectReply(await js.read<Reply>(`STREAM.MSG.GET.${streamName(roomId)}`, { seq }), jsCode.noMessage);
  if (reply.error !== undefined) return null;
  const { message } = reply;
  if (message?.seq !== seq) throw streamErrors.unanswered("a reply without the message");
  if (!isOfRoom(message, { subject, lowestSeq: info.state.first_seq })) return null;
  return { frame: Buffer.from(message.data ?? "", "base64"), isErasable: isErasable(info) };
}

/**
 * Overwrites a message on disk and removes it. Returns false if it was gone already.
 * Errors: unavailable, and then the message may be gone or not.
 */
export async function eraseMessage(js: JetStream, roomId: string, seq: number): Promise<boolean> {
  const name = streamName(roomId);
  const reply = await js.call<ApiReply>(`STREAM.MSG.DELETE.${name}`, { seq, no_erase: false });
  if (reply.error === undefined) return true;
  expectReply(reply, jsCode.sequenceNotFound, jsCode.deleteFailed);
  const { error } = expectReply(await js.read<ApiReply>(`STREAM.MSG.GET.${name}`, { seq }), jsCode.noMessage);
  if (error !== undefined) return false;
  throw streamErrors.unanswered(reply.error);
}
