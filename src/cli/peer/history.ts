import type { Message, Room } from "../../client/index.ts";
import { CliCommand } from "../cli-command.ts";
import { countArgument } from "../numbers.ts";
import { printNote } from "../print.ts";
import { linePrinter } from "./message-lines.ts";
import { approveOption, openRoom, type RoomChoices, roomText } from "./open-room.ts";
import { asReader, type PeerOptions, peerCommand } from "./peer.ts";
import { lastRaw, printRaw } from "./raw.ts";
import { verifyHistory } from "./verify-history.ts";

/** How many messages are printed by default and at most, and the size of a page. */
const limits = { usual: 200, most: 10_000, page: 1_000 } as const;
/** Maximum number of pages to read. Members may have filled a room with invalid messages, which are dropped. */
const pagesMax = 64;

interface HistoryOptions extends PeerOptions, RoomChoices {
  readonly limit: number;
  readonly ids?: boolean;
  readonly raw?: boolean;
  readonly verify?: boolean;
}

/** Fetches the last messages of a room, oldest first, paging backwards. */
export async function lastMessages(room: Room, limit: number, signal: AbortSignal): Promise<Message[]> {
  const pages: (readonly Message[])[] = [];
  let before: number | undefined;
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

const isKept = (room: Room): boolean => room.state.state.policy.persist;

async function history(name: string, options: HistoryOptions): Promise<void> {
  await asReader(options, async (bus, signal) => {
    const room = await openRoom(bus, name, signal, options);
    if (options.verify) return verifyHistory(room, options, signal);
    if (options.raw) {
      for (const bytes of await lastRaw(bus, room, options.limit, signal)) await printRaw(bytes, options);
      return;
    }
    const print = linePrinter(room, options);
    const messages = await lastMessages(room, options.limit, signal);
    if (messages.length === 0) printNote(`no messages in ${room.subject}${isKept(room) ? " yet" : ": it stores none"}`);
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
      example: "unibus history room.team --limit 20",
    }),
  )
    .argument("<room>", roomText)
    .option("--limit <n>", `print at most this many, up to ${limits.most}`, countArgument(1, limits.most), limits.usual)
    .option("--ids", "print the id of each message before it")
    .option("--raw", "print stored messages as they are: encrypted, unchecked, and also those that no member sent")
    .option("--verify", "check the whole history for missing messages, print no message, and exit 1 if any is missing")
    .addOption(approveOption())
    .option("--json", "print one JSON object per line")
    .action(history);
}
