import { InvalidArgumentError } from "commander";
import { titleIn } from "../../wire/bodies.ts";
import { bytesOf } from "../../wire/encoding.ts";
import { CliCommand } from "../cli-command.ts";
import { type PrintOptions, printJson, printLine, printNote } from "../print.ts";
import { checkOwner } from "./message-command.ts";
import { openRoom, type RoomChoices, roomText, sendingCommand } from "./open-room.ts";
import { asReader, asSender, nameText, type PeerOptions, peerCommand } from "./peer.ts";
import { timelineUntil } from "./room-timeline.ts";
import { printSent } from "./send.ts";
import { checkKeeps } from "./stored-message.ts";

type TitleOptions = PeerOptions & RoomChoices & PrintOptions;

function titleArgument(text: string): string {
  const title = titleIn(bytesOf(text));
  if (title !== null) return title;
  throw new InvalidArgumentError("Write 1 to 100 characters, without control or invisible characters.");
}

async function show(name: string, options: TitleOptions): Promise<void> {
  await asReader(options, async (bus, signal) => {
    const room = await openRoom(bus, name, signal, options);
    checkKeeps(room, "show");
    const { title } = await timelineUntil(room, (timeline) => timeline.title !== null, signal);
    const { id: room_id, subject } = room;
    const by = room.members.find(({ endpoint }) => endpoint === title?.by);
    if (options.json) {
      const more = title === null ? {} : { by: title.by, handle: by?.handle ?? "", verified: !title.isUnsigned };
      return printJson({ room_id, subject, title: title?.text ?? null, ...more });
    }
    if (title === null) return printNote(`${subject} has no title (set one: unibus title ${subject} TEXT)`);
    await printLine(`${title.text}${title.isUnsigned ? " ?" : ""}`);
    printNote(`set by ${nameText({ handle: by?.handle ?? "", endpoint: title.by })}`);
  });
}

async function set(name: string, title: string, options: TitleOptions): Promise<void> {
  await asSender(options, async (bus, signal) => {
    const room = await openRoom(bus, name, signal, options);
    checkKeeps(room, "name");
    checkOwner(bus, room, "set its title");
    await printSent(await room.setTitle(title, { signal }), options);
  });
}

/** The command `title ROOM [TEXT]`. */
export function titleCommand(): CliCommand {
  const command = new CliCommand("title", {
    summary: "print a room's title, its name for people; with TEXT, set it, as an owner",
    example: 'unibus title room.team "The team"',
  });
  return sendingCommand(peerCommand(command))
    .argument("<room>", roomText)
    .argument("[text]", "the new title, up to 100 characters", titleArgument)
    .option("--json", "print JSON")
    .action((name: string, title: string | undefined, options: TitleOptions) =>
      title === undefined ? show(name, options) : set(name, title, options),
    );
}
