/**
 * The command `history`: a page of a room's stored messages. It reads backwards from the end or from a message
 * (`--before`), or forwards from a message or a time (`--after`, `--since`), and prints what it read, oldest first.
 */
import { Option } from "commander";
import type { Bus, Message, Room } from "../../client/index.ts";
import { CliCommand } from "../cli-command.ts";
import { countArgument } from "../numbers.ts";
import { printNote } from "../print.ts";
import { linePrinter } from "./message-lines.ts";
import { approveOption, openRoom, type RoomChoices, roomText } from "./open-room.ts";
import { asReader, type PeerOptions, peerCommand } from "./peer.ts";
import { lastRaw, printRaw } from "./raw.ts";
import { idArgument, storedFrom, timeArgument, timeText } from "./since.ts";
import { keepsMessages, storedMessage } from "./stored-message.ts";
import { verifyHistory } from "./verify-history.ts";

/** How many messages are printed by default and at most, and the size of a page. */
const limits = { usual: 200, most: 10_000, page: 1_000 } as const;
/** Maximum number of pages to read. Members may have filled a room with invalid messages, which are dropped. */
const pagesMax = 64;

interface HistoryOptions extends PeerOptions, RoomChoices {
  readonly limit: number;
  readonly before?: string;
  readonly after?: string;
  readonly since?: Date;
  readonly ids?: boolean;
  readonly raw?: boolean;
  readonly verify?: boolean;
}

/** Fetches the last messages of a room, or the last ones before a sequence number, oldest first, paging backwards. */
export async function lastMessages(room: Room, limit: number, signal: AbortSignal, end?: number): Promise<Message[]> {
  const pages: (readonly Message[])[] = [];
  let before = end;
  for (let left = limit; left > 0 && pages.length < pagesMax; ) {
    const place = before === undefined ? {} : { before };
    // After the first page, ask for full pages: invalid messages would otherwise cost a request for every few frames.
    const size = pages.length === 0 ? Math.min(left, limits.page) : limits.page;
    const page = await room.history({ limit: size, ...place }, signal);
    pages.unshift(page.messages);
    left -= page.messages.length;
    if (!page.more || page.firstSeq === 0) break;
    before = page.firstSeq;
  }
  return pages.flat().slice(-limit);
}

/** Fetches the first messages from a place on, oldest first. */
async function firstMessages(from: AsyncIterable<Message>, limit: number): Promise<Message[]> {
  const messages: Message[] = [];
  for await (const message of from) if (messages.push(message) >= limit) break;
  return messages;
}

/** The messages that the options ask for, oldest first. Errors: not_found for a message that is not stored. */
async function chosen(bus: Bus, room: Room, options: HistoryOptions, signal: AbortSignal): Promise<Message[]> {
  const { limit, before, after, since } = options;
  const seqOf = async (id: string) => (await storedMessage(bus, room, id, signal)).seq;
  if (after !== undefined) return firstMessages(storedFrom(room, { after: await seqOf(after) }, signal), limit);
  if (since !== undefined) return firstMessages(storedFrom(room, { since }, signal), limit);
  return lastMessages(room, limit, signal, before === undefined ? undefined : await seqOf(before));
}

/** What to say if there is no message to print. */
function emptyText(room: Room, { before, after, since }: HistoryOptions): string {
  if (!keepsMessages(room)) return `no messages in ${room.subject}: it stores none`;
  if (before !== undefined) return `no messages before ${before} in ${room.subject}`;
  if (after !== undefined) return `no messages after ${after} in ${room.subject}`;
  return `no messages in ${room.subject}${since === undefined ? " yet" : ` since ${since.toISOString()}`}`;
}

async function history(name: string, options: HistoryOptions): Promise<void> {
  await asReader(options, async (bus, signal) => {
    const room = await openRoom(bus, name, signal, options);
    if (options.verify) return verifyHistory(room, options, signal);
    if (options.raw) {
      for (const bytes of await lastRaw(bus, room, options.limit, signal)) await printRaw(bytes, options);
      return;
    }
    const print = linePrinter(room, options);
    const messages = await chosen(bus, room, options, signal);
    if (messages.length === 0) printNote(emptyText(room, options));
    for (const message of messages) {
      signal.throwIfAborted();
      await print(message);
    }
  });
}

/** The command `history ROOM`. */
export function historyCommand(): CliCommand {
  return peerCommand(
    new CliCommand("history", {
      summary: "print the last messages of a persisted room, oldest first; ? marks unsigned ones",
      example: "unibus history room.team --since 2h",
    }),
  )
    .argument("<room>", roomText)
    .option("--limit <n>", `print at most this many, up to ${limits.most}`, countArgument(1, limits.most), limits.usual)
    .addOption(
      new Option("--before <id>", "print the last messages before this one (default: the last ones)")
        .argParser(idArgument)
        .conflicts(["after", "since"]),
    )
    .addOption(
      new Option("--after <id>", "print the first messages after this one (default: the last ones)")
        .argParser(idArgument)
        .conflicts("since"),
    )
    .addOption(
      new Option("--since <time>", `print the first messages since ${timeText} (default: the last ones)`).argParser(
        timeArgument,
      ),
    )
    .option("--ids", "print the id of each message before it")
    .addOption(
      new Option(
        "--raw",
        "print stored messages as they are: encrypted, unchecked, and also those that no member sent",
      ).conflicts(["before", "after", "since", "ids", "verify"]),
    )
    .addOption(
      new Option(
        "--verify",
        "check the whole history for missing messages, print no message, and exit 1 if any is missing",
      ).conflicts(["before", "after", "since", "ids"]),
    )
    .addOption(approveOption())
    .option("--json", "print one JSON object per line")
    .action(history);
}
