import type { Bus, Message, Room } from "../../client/index.ts";
import { SeenSet } from "../../lib/seen-set.ts";
import { fromBase64 } from "../../wire/encoding.ts";
import { UnibusError } from "../../wire/errors.ts";
import { decodeFrame, isDropped } from "../../wire/frame.ts";

/** Page size. */
const pageMax = 1_000;
/** How many messages are remembered to drop duplicates between the history and live messages. */
const seenMax = 20_000;

function idOf(text: string): string | null {
  const bytes = fromBase64(text);
  const frame = bytes === null ? null : decodeFrame(bytes);
  return frame === null || isDropped(frame) ? null : frame.id;
}

/**
 * Finds the history pages from now back to a message, as end sequences, the oldest last. A page that contains the id is
 * decrypted, and counts only if the message is valid: any member can publish bytes with the same id.
 * Errors: not_found.
 */
async function pagesFrom(bus: Bus, room: Room, id: string, signal: AbortSignal): Promise<number[]> {
  const ends: number[] = [];
  for (let before: number | undefined; ; ) {
    const place = before === undefined ? {} : { before };
    const page = await bus.control.history(room.id, { limit: pageMax, ...place }, signal);
    const end = page.last_seq + 1;
    ends.push(end);
    if (page.messages.some((text) => idOf(text) === id)) {
      const { messages } = await room.history({ limit: pageMax, before: end }, signal);
      if (messages.some((message) => message.id === id)) return ends;
    }
    const isAtEnd = !page.more || page.messages.length === 0;
    // A server that repeats its pages must not keep this command reading for ever.
    if (isAtEnd || page.first_seq >= (before ?? Number.POSITIVE_INFINITY)) {
      throw new UnibusError("not_found", `${room.subject} has no stored message ${id} (name another, or --since all)`);
    }
    before = page.first_seq;
  }
}

/** The position from which a reader continues. */
export interface Place {
  /** The last message that the reader has. */
  readonly id: string;
  /** New messages. The subscription has already started. */
  readonly live: AsyncIterable<Message>;
  readonly signal: AbortSignal;
}

/** Yields all messages after a given one and then new ones, without duplicates. Errors: not_found; those of reading. */
export async function messagesSince(bus: Bus, room: Room, place: Place): Promise<AsyncGenerator<Message>> {
  return messagesFrom(room, (await pagesFrom(bus, room, place.id, place.signal)).reverse(), place);
}

async function* messagesFrom(
  room: Room,
  ends: readonly number[],
  { id, live, signal }: Place,
): AsyncGenerator<Message> {
  const seen = new SeenSet(seenMax);
  const isNew = (message: Message): boolean => seen.add(`${message.from}.${message.id}`);
  let isAfter = false;
  for (const end of ends) {
    const { messages } = await room.history({ limit: pageMax, before: end }, signal);
    for (const message of messages) {
      if (isNew(message) && isAfter) yield message;
      isAfter ||= message.id === id;
    }
  }
  for await (const message of live) if (isNew(message)) yield message;
}

/** Fetches a stored message. Errors: not_found, also for an invalid message; those of GET history. */
export async function messageById(bus: Bus, room: Room, id: string, signal: AbortSignal): Promise<Message> {
  const end = (await pagesFrom(bus, room, id, signal)).at(-1) ?? 0;
  const { messages } = await room.history({ limit: pageMax, before: end }, signal);
  const found = messages.find((message) => message.id === id);
  if (found !== undefined) return found;
  throw new UnibusError("not_found", `you cannot read message ${id} (name another)`);
}
