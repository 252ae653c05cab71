/** The commands `edit` and `delete`, which change a message that was sent. */
import { UnibusError } from "../../wire/errors.ts";
import { CliCommand } from "../cli-command.ts";
import { textOrStdin } from "../input.ts";
import { printJson, printLine } from "../print.ts";
import { checkOwn, isOwner, type MessageOptions, messageCommand, onMessage } from "./message-command.ts";
import { isOriginal } from "./message-lines.ts";
import { printSent, sentFields } from "./send.ts";

async function edit(name: string, id: string, text: string, options: MessageOptions): Promise<void> {
  const words = await textOrStdin(text, "TEXT");
  await onMessage([name, id], options, "edit", async (on) => {
    const { room, message, signal } = on;
    checkOwn(on, "edit only your own messages");
    if (!isOriginal(message.kind) && message.kind !== "edit") {
      const what = `message ${id} is of kind ${message.kind}, which has no text to edit`;
      throw new UnibusError("invalid", `${what} (name a text or a file)`);
    }
    await printSent(await room.edit(message, words, { signal }), options);
  });
}

/** What became of the stored bytes of a deleted message and its edits. */
function erasedText(erased: boolean, edits: number): string {
  const what = edits === 0 ? "it" : `it and its ${edits === 1 ? "edit" : `${edits} edits`}`;
  return erased ? `erased ${what} on the server` : `the server still stores ${what} as it was sent`;
}

async function remove(name: string, id: string, options: MessageOptions): Promise<void> {
  await onMessage([name, id], options, "delete", async (on) => {
    const { bus, room, message, signal } = on;
    if (!isOwner(bus, room)) checkOwn(on, "delete your own messages, or ask an owner to delete it");
    const { erased, edits, ...sent } = await room.delete(message, { signal });
    if (options.json) return printJson({ ...sentFields(sent), deleted: id, edits, erased });
    await printLine(`asked everyone to remove it; ${erasedText(erased, edits)}`);
  });
}

/** The command `edit ROOM MESSAGE_ID TEXT`. */
export function editCommand(): CliCommand {
  return messageCommand(
    new CliCommand("edit", {
      summary: "replace the text of a message that you sent, and print the id of the edit",
      example: 'unibus edit room.team 01J9ZQ4E7N6T8V2X4Y6Z8A0B2C "the tests are red"',
    }),
  )
    .argument("<text>", "the new text; -: all of stdin")
    .option("--json", "print JSON")
    .action(edit);
}

const deleteHelp = `
Every member's client is asked to remove the message, then the server erases it. A member who has read or copied it
keeps what they have. Owners can delete messages of other members.`;

/** The command `delete ROOM MESSAGE_ID`. */
export function deleteCommand(): CliCommand {
  return messageCommand(
    new CliCommand("delete", {
      summary: "ask everyone to remove a message, and erase it on the server",
      example: "unibus delete room.team 01J9ZQ4E7N6T8V2X4Y6Z8A0B2C",
    }),
  )
    .addHelpText("after", deleteHelp)
    .option("--json", "print JSON")
    .action(remove);
}
