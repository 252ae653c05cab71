import { CliCommand } from "../cli-command.ts";
import { textOrStdin } from "../input.ts";
import { printJson, printLine } from "../print.ts";
import { whoText } from "../user-arguments.ts";
import { openRoom, type RoomChoices, sendingCommand } from "./open-room.ts";
import { asSender, type PeerOptions, peerCommand, usersNamed } from "./peer.ts";
import { sentFields } from "./send.ts";

async function dm(who: string, text: string | undefined, options: PeerOptions & RoomChoices): Promise<void> {
  const words = text === undefined ? null : await textOrStdin(text, "TEXT");
  await asSender(options, async (bus, signal) => {
    const [user] = await usersNamed(bus, [who], { ...options, signal });
    const { id } = await bus.direct(user?.endpoint ?? who, signal);
    // Opened again like any other room, so that the options for sending count.
    const room = await openRoom(bus, id, signal, options);
    const sent = words === null ? null : await room.send(words, { signal });
    if (options.json) {
      const place = { room_id: id, subject: room.subject, with: user };
      return printJson(sent === null ? place : { ...place, ...sentFields(sent) });
    }
    await printLine(id);
    if (sent !== null) await printLine(sent.id);
  });
}

/** The command `dm WHO [TEXT]`. */
export function dmCommand(): CliCommand {
  const command = new CliCommand("dm", {
    summary:
      "find or create the direct room with a user, and print its id; with TEXT, send that, and print its id, too",
    example: 'unibus dm bob "are you there?"',
  });
  return sendingCommand(peerCommand(command))
    .argument("<who>", whoText)
    .argument("[text]", "the message; -: all of stdin (default: send nothing)")
    .option("--json", "print JSON")
    .action(dm);
}
