import { InvalidArgumentError } from "commander";
import { emojiIn } from "../../client/rooms/timeline-rules.ts";
import { bytesOf } from "../../wire/encoding.ts";
import { CliCommand } from "../cli-command.ts";
import { type MessageOptions, messageCommand, onMessage } from "./message-command.ts";
import { printSent } from "./send.ts";

function emojiArgument(text: string): string {
  const emoji = emojiIn(bytesOf(text));
  if (emoji !== null) return emoji;
  throw new InvalidArgumentError("Write one emoji, or a short text without spaces.");
}

type ReactOptions = MessageOptions & { readonly remove?: boolean };

async function react(name: string, id: string, emoji: string, options: ReactOptions): Promise<void> {
  await onMessage([name, id], options, "react to", async ({ room, message, signal }) => {
    const sent = options.remove ? room.unreact(message, emoji, { signal }) : room.react(message, emoji, { signal });
    await printSent(await sent, options);
  });
}

/** The command `react ROOM MESSAGE_ID EMOJI`. */
export function reactCommand(): CliCommand {
  return messageCommand(
    new CliCommand("react", {
      summary: "react to a message with an emoji, and print the id of the reaction",
      example: "unibus react room.team 01J9ZQ4E7N6T8V2X4Y6Z8A0B2C 👍",
    }),
  )
    .argument("<emoji>", "an emoji, or a short text such as +1", emojiArgument)
    .option("--remove", "take back your reaction with this emoji")
    .option("--json", "print JSON")
    .action(react);
}
