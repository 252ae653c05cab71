/** Reads a room's history into a timeline, until that has what a command asks for: a title, or pinned messages. */
import { type Message, type Room, Timeline } from "../../client/index.ts";
import { factsOf } from "../../client/rooms/live-timeline.ts";
import { partsOf } from "../../client/rooms/room-parts.ts";

/** Page size. */
const pageMax = 1_000;

/**
 * Reads the history from its end until something holds, or there are no older messages.
 * Errors: those of GET history and of reading the room's statements.
 */
export async function timelineUntil(
  room: Room,
  holds: (timeline: Timeline<Message>) => boolean,
  signal: AbortSignal,
): Promise<Timeline<Message>> {
  const { trust } = partsOf(room);
  // A title counts by the version of the room that its owner had seen, which may be an old one.
  await trust.learnStatements(signal);
  const timeline = new Timeline<Message>(factsOf(trust), () => undefined);
  for (let before: number | undefined; ; ) {
    const place = before === undefined ? {} : { before };
    const page = await room.history({ limit: pageMax, ...place }, signal);
    for (const message of page.messages) timeline.add(message);
    // A server that repeats its pages must not keep this command reading for ever.
    const isAtEnd = !page.more || page.firstSeq === 0 || page.firstSeq >= (before ?? Number.POSITIVE_INFINITY);
    if (isAtEnd || holds(timeline)) return timeline;
    before = page.firstSeq;
  }
}
