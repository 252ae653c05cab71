import { InvalidArgumentError, Option } from "commander";
import type { Bus, Room } from "../../client/index.ts";
import { isUlid } from "../../wire/names.ts";
import { CliCommand } from "../cli-command.ts";
import { printNote } from "../print.ts";
import { linePrinter } from "./message-lines.ts";
import { approveOption, openRoom, type RoomChoices, roomText } from "./open-room.ts";
import { asPeer, type PeerOptions, peerCommand } from "./peer.ts";
import { printRaw, RawPrinter } from "./raw.ts";
import { messagesSince, timeIn, timeText } from "./since.ts";

interface TailOptions extends PeerOptions, RoomChoices {
  readonly since?: string | Date;
  readonly ids?: boolean;
  readonly raw?: boolean;
}

/** Parses `all`, the id of a message, or a time. */
function sinceArgument(text: string): string | Date {
  const since = text === "all" || isUlid(text) ? text : timeIn(text);
  if (since !== null) return since;
  throw new InvalidArgumentError("Name a message by its id, or write all, or a time as in 10m or 2026-01-31T09:30.");
}

/** Prints everything published on the room's subject, unchecked, until it is asked to stop. */
async function tailRaw(room: Room, options: TailOptions, signal: AbortSignal): Promise<void> {
  const dropped = (count: number) =>
    printNote(`warning: ${count} ${count === 1 ? "message" : "messages"} not printed: stdout is read too slowly`);
  const printer = new RawPrinter((bytes) => printRaw(bytes, options), dropped);
  const stop = room.onRaw((bytes) => printer.take(bytes));
  try {
    // Reading keeps the subscription open, and ends when this peer is out of the room.
    await using live = room.messages({ signal });
    await live.ready;
    printNote(`following ${room.subject}, raw (Ctrl-C stops)`);
    for await (const _ of live);
  } finally {
    stop();
  }
}

async function tail(name: string, options: TailOptions): Promise<void> {
  const { since } = options;
  const follow = async (bus: Bus, signal: AbortSignal) => {
    const room = await openRoom(bus, name, signal, options);
    if (options.raw) return tailRaw(room, options, signal);
    const print = linePrinter(room, options);
    await using live = room.messages({ from: since === "all" ? "start" : "now", signal });
    await live.ready;
    const isFromPlace = since !== undefined && since !== "all";
    const messages = isFromPlace ? await messagesSince(bus, room, { since, live, signal }) : live;
    printNote(`following ${room.subject} (Ctrl-C stops)`);
    for await (const message of messages) await print(message);
  };
  await asPeer(options, follow, { follows: true, reads: true });
}

/** The command `tail ROOM`. */
export function tailCommand(): CliCommand {
  return peerCommand(
    new CliCommand("tail", {
      summary: "follow a room from now on: time, handle and text of each message; ? marks an unsigned one",
      example: "unibus tail room.team --since all",
    }),
  )
    .argument("<room>", roomText)
    .option(
      "--since <id>",
      `begin after this message, or at a time: ${timeText}; all: with the oldest stored message (default: from now on)`,
      sinceArgument,
    )
    .option("--ids", "print the id of each message before it")
    .addOption(
      new Option(
        "--raw",
        "print messages as they arrive: encrypted, unchecked, and also those that no member sent",
      ).conflicts("since"),
    )
    .addOption(approveOption())
    .option("--json", "print one JSON object per line")
    .action(tail);
}
