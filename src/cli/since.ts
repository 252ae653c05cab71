import type { Bus, Message, Room } from "../client/index.ts";
import { Recent } from "../client/recent.ts";
import { fromBase64 } from "../wire/encoding.ts";
import { UnibusError } from "../wire/errors.ts";
import { decodeFrame, isDropped } from "../wire/frame.ts";

/** How many messages a page holds. */
const pageMax = 1_000;
/** How many messages are remembered to tell what comes twice: out of the history, and live. */
const seenMax = 20_000;

function idOf(text: string): string | null {
  const bytes = fromBase64(text);
  const frame = bytes === null ? null : decodeFrame(bytes);
  return frame === null || isDropped(frame) ? null : frame.id;
}

/**
 * The sequences before which the pages end that lead from a message to now, the oldest last. A page whose bytes name
 * the message is opened, and counts only if the message holds: anybody in the room can publish bytes with the same id.
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
    if (!page.more || page.messages.length === 0) {
      throw new UnibusError("not_found", `${room.subject} keeps no message ${id} (name another, or --since all)`);
    }
    before = page.first_seq;
  }
}

/** Where a reader goes on. */
export interface Place {
  /** The last message that it has. */
  readonly id: string;
  /** What comes from now on; it has begun. */
  readonly live: AsyncIterable<Message>;
  readonly signal: AbortSignal;
}

/** What was said after a message, and then what comes, each once. Errors: not_found; while reading, those of that. */
export async function messagesSince(bus: Bus, room: Room, place: Place): Promise<AsyncGenerator<Message>> {
  return messagesFrom(room, (await pagesFrom(bus, room, place.id, place.signal)).reverse(), place);
}

async function* messagesFrom(
  room: Room,
  ends: readonly number[],
  { id, live, signal }: Place,
): AsyncGenerator<Message> {
  const seen = new Recent(seenMax);
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

/** A message that a room keeps. Errors: not_found, also for one that does not hold; those of GET history. */
export async function messageById(bus: Bus, room: Room, id: string, signal: AbortSignal): Promise<Message> {
  const end = (await pagesFrom(bus, room, id, signal)).at(-1) ?? 0;
  const { messages } = await room.history({ limit: pageMax, before: end }, signal);
  const found = messages.find((message) => message.id === id);
  if (found !== undefined) return found;
  throw new UnibusError("not_found", `message ${id} cannot be read by you (name another)`);
}
