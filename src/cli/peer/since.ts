/** Where reading a room begins on the command line: after a message, or at a time. */
import { InvalidArgumentError } from "commander";
import type { Bus, Message, Room } from "../../client/index.ts";
import { SeenSet } from "../../lib/seen-set.ts";
import { isUlid } from "../../wire/names.ts";
import { storedMessage } from "./stored-message.ts";

/** Page size. */
const pageMax = 1_000;
/** How many messages are remembered to drop duplicates between the history and live messages. */
const seenMax = 20_000;

const unitsMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** A date, or a date with a time, which ends with its zone: `Z` or as in `+02:00`. Without a zone it is local. */
const dateShape = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?$/;

/** The time that a text names, or null: `10m` ago (also s, h, d), or a date with or without a time. */
export function timeIn(text: string, nowMs: number = Date.now()): Date | null {
  const [, count, unit = ""] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  if (count !== undefined) return new Date(Math.max(0, nowMs - Number(count) * (unitsMs[unit] ?? 0)));
  if (!dateShape.test(text)) return null;
  // A date alone is a day of this computer's zone, as a person means it.
  const date = new Date(text.includes(":") ? text.replace(" ", "T") : `${text}T00:00`);
  return Number.isNaN(date.getTime()) ? null : date;
}

/** How the help describes a time. */
export const timeText = "10m, 2h or 3d ago, or a date as in 2026-01-31T09:30";

/** Parses a time on the command line. */
export function timeArgument(text: string): Date {
  const time = timeIn(text);
  if (time !== null) return time;
  throw new InvalidArgumentError("Write 10m, 2h or 3d for that long ago, or a date as in 2026-01-31T09:30.");
}

/** Parses a message id on the command line. */
export function idArgument(text: string): string {
  if (isUlid(text)) return text;
  throw new InvalidArgumentError("Name a message by its id.");
}

/** The position from which a reader continues. */
export interface Place {
  /** The id of the last message that the reader has, or the time from which it reads. */
  readonly since: string | Date;
  /** New messages. The subscription has already started. */
  readonly live: AsyncIterable<Message>;
  readonly signal: AbortSignal;
}

/** Yields the messages after a place and then new ones, without duplicates. Errors: not_found; those of reading. */
export async function messagesSince(bus: Bus, room: Room, place: Place): Promise<AsyncGenerator<Message>> {
  const { since, signal } = place;
  const start = typeof since === "string" ? { after: (await storedMessage(bus, room, since, signal)).seq } : { since };
  return messagesFrom(room, start, place);
}

type Start = { readonly after: number } | { readonly since: Date };

/** Yields the stored messages from a place on, oldest first, up to the end of the history. */
export async function* storedFrom(room: Room, from: Start, signal: AbortSignal): AsyncGenerator<Message> {
  for (let start = from, last = -1; ; ) {
    const { messages, lastSeq, more } = await room.history({ limit: pageMax, ...start }, signal);
    yield* messages;
    // A server that repeats its pages must not keep this command reading for ever.
    if (!more || lastSeq <= last) return;
    last = lastSeq;
    start = { after: lastSeq };
  }
}

async function* messagesFrom(room: Room, start: Start, { live, signal }: Place): AsyncGenerator<Message> {
  const seen = new SeenSet(seenMax);
  const isNew = (message: Message): boolean => seen.add(`${message.from}.${message.id}`);
  for await (const message of storedFrom(room, start, signal)) if (isNew(message)) yield message;
  for await (const message of live) if (isNew(message)) yield message;
}

/** Fetches a stored message. Errors: not_found, also for an invalid message; those of GET history. */
export async function messageById(bus: Bus, room: Room, id: string, signal: AbortSignal): Promise<Message> {
  return (await storedMessage(bus, room, id, signal)).message;
}
