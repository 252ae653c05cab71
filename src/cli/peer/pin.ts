/** The command `pin`: lists the pinned messages of a room, and adds, removes or clears them. */
import { InvalidArgumentError, Option } from "commander";
import type { Bus, Message, Room } from "../../client/index.ts";
import { hasCode } from "../../wire/errors.ts";
import { isUlid } from "../../wire/names.ts";
import { CliCommand } from "../cli-command.ts";
import { printJson, printLine, printNote } from "../print.ts";
import { checkOwner } from "./message-command.ts";
import { MessageLines, messageFields } from "./message-lines.ts";
import { openRoom, type RoomChoices, roomText, sendingCommand } from "./open-room.ts";
import { asReader, asSender, type PeerOptions, peerCommand } from "./peer.ts";
import { timelineUntil } from "./room-timeline.ts";
import { printSent } from "./send.ts";
import { messageById } from "./since.ts";
import { checkKeeps } from "./stored-message.ts";

interface PinOptions extends PeerOptions, RoomChoices {
  readonly remove?: boolean;
  readonly clear?: boolean;
}

function idsArgument(text: string, before: readonly string[] = []): readonly string[] {
  if (isUlid(text)) return [...before, text];
  throw new InvalidArgumentError("Name messages by their ids.");
}

const pinnedIn = (room: Room, signal: AbortSignal) =>
  timelineUntil(room, (timeline) => timeline.pins.length > 0, signal);

/** A stored message, or null if it was deleted. */
async function storedOrNull(bus: Bus, room: Room, id: string, signal: AbortSignal): Promise<Message | null> {
  try {
    return await messageById(bus, room, id, signal);
  } catch (error) {
    if (hasCode(error, "not_found")) return null;
    throw error;
  }
}

async function list(name: string, options: PinOptions): Promise<void> {
  await asReader(options, async (bus, signal) => {
    const room = await openRoom(bus, name, signal, options);
    checkKeeps(room, "list");
    const timeline = await pinnedIn(room, signal);
    if (timeline.pins.length === 0) {
      printNote(`no pinned messages in ${room.subject} (pin one: unibus pin ${room.subject} MESSAGE_ID)`);
    }
    const lines = new MessageLines(room);
    for (const id of timeline.pins) {
      const item = timeline.item(id);
      const message = item === null ? await storedOrNull(bus, room, id, signal) : item.message;
      // An edit counts only if its sender may make it, which the timeline decides.
      const edited = item?.edit == null ? {} : { text: item.text, edited: true };
      if (options.json)
        await printJson(message === null ? { id, text: null } : { ...messageFields(message), ...edited });
      else if (message === null) await printLine(`${id}  (deleted)`);
      else await printLine(`${id}  `, ...lines.lineOf(message, item?.edit ?? null));
    }
  });
}

/** The pinned messages after a change: new ones follow those that are pinned already. */
function changed(pins: readonly string[], ids: readonly string[], isRemoval: boolean): readonly string[] {
  const rest = pins.filter((id) => !ids.includes(id));
  return isRemoval ? rest : [...pins, ...new Set(ids.filter((id) => !pins.includes(id)))];
}

async function change(name: string, ids: readonly string[], options: PinOptions): Promise<void> {
  await asSender(options, async (bus, signal) => {
    const room = await openRoom(bus, name, signal, options);
    checkKeeps(room, "pin");
    checkOwner(bus, room, "pin messages");
    const { pins } = options.clear ? { pins: [] } : await pinnedIn(room, signal);
    if (!options.remove) for (const id of ids) await messageById(bus, room, id, signal);
    const sent = await room.pin(changed(pins, ids, options.remove === true), { signal });
    await printSent(sent, options);
  });
}

async function pin(name: string, ids: readonly string[], options: PinOptions): Promise<void> {
  if (options.remove && ids.length === 0) {
    throw new InvalidArgumentError("--remove needs the id of a message (or use --clear to remove all)");
  }
  if (options.clear && ids.length > 0) {
    throw new InvalidArgumentError("--clear removes all pins and takes no message id (use --remove for some of them)");
  }
  await (ids.length > 0 || options.clear ? change(name, ids, options) : list(name, options));
}

/** The command `pin`, which takes a room and any number of message ids. */
export function pinCommand(): CliCommand {
  const command = new CliCommand("pin", {
    summary: "list the pinned messages of a room; with ids, pin those, too, as an owner",
    example: "unibus pin room.team 01J9ZQ4E7N6T8V2X4Y6Z8A0B2C",
  });
  return sendingCommand(peerCommand(command))
    .argument("<room>", roomText)
    .argument("[message_id...]", "messages to pin; at most 50 are pinned at once", idsArgument)
    .addOption(new Option("--remove", "remove these messages from the pinned ones").conflicts("clear"))
    .option("--clear", "remove all pinned messages")
    .option("--json", "print JSON; the list as one object per line")
    .action((name: string, ids: readonly string[] | undefined, options: PinOptions) => pin(name, ids ?? [], options));
}
