/** Finds one stored message of a room by its id, with its place in the history. */
import { type Bus, Message, type Room } from "../../client/index.ts";
import { framesOf } from "../../client/rooms/history-pages.ts";
import { partsOf } from "../../client/rooms/room-parts.ts";
import { UnibusError } from "../../wire/errors.ts";
import { isDropped } from "../../wire/frame.ts";

/** Page size. */
const pageMax = 1_000;

/** A message and its sequence number in the room's history. */
export interface StoredMessage {
  readonly message: Message;
  readonly seq: number;
}

/** Whether a room keeps its messages. */
export const keepsMessages = (room: Room): boolean => room.state.state.policy.persist;

/**
 * Refuses a room that keeps no messages. `what` completes "so there is nothing to": for example "edit".
 * Errors: conflict.
 */
export function checkKeeps(room: Room, what: string): void {
  if (keepsMessages(room)) return;
  const hint = "create a room that keeps them: unibus room new SUBJECT --persist";
  throw new UnibusError("conflict", `${room.subject} keeps no messages, so there is nothing to ${what} (${hint})`);
}

/**
 * Finds a stored message, reading the history from its end. A frame counts only if it is valid: any member can publish
 * bytes with the same id, but only after the message itself.
 * Errors: not_found; those of GET history.
 */
export async function storedMessage(bus: Bus, room: Room, id: string, signal: AbortSignal): Promise<StoredMessage> {
  const { receiver } = partsOf(room);
  for (let before: number | undefined; ; ) {
    const place = before === undefined ? {} : { before };
    const page = await bus.control.history(room.id, { limit: pageMax, ...place }, signal);
    for (const [index, frame] of framesOf(page.messages).entries()) {
      if (isDropped(frame) || frame.id !== id) continue;
      const received = await receiver.open(frame, "history");
      if (received !== null) return { message: new Message(received), seq: page.seqs[index] ?? page.last_seq };
    }
    const isAtEnd = !page.more || page.messages.length === 0;
    // A server that repeats its pages must not keep this command reading for ever.
    if (isAtEnd || page.first_seq >= (before ?? Number.POSITIVE_INFINITY)) {
      const what = `${room.subject} has no stored message ${id}; it may have been deleted`;
      throw new UnibusError("not_found", `${what} (unibus history --ids prints the ids)`);
    }
    before = page.first_seq;
  }
}
