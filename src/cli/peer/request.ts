import { CliCommand } from "../cli-command.ts";
import { checkNotEmpty, wholeOf } from "../input.ts";
import { countArgument } from "../numbers.ts";
import { printJson, printText, writeBytes } from "../print.ts";
import { messageFields, textOf } from "./message-lines.ts";
import { openRoom, type RoomChoices, roomText, sendingCommand } from "./open-room.ts";
import { asSender, type PeerOptions, peerCommand } from "./peer.ts";

/** How long an answer may take, by default and at most, in milliseconds. */
const answerMs = { usual: 5_000, most: 3_600_000 } as const;

interface RequestOptions extends PeerOptions, RoomChoices {
  readonly timeout: number;
}

/** Prints an answer: unchanged bytes for a program, escaped text on a terminal. */
function printData(data: Uint8Array): Promise<void> {
  if (!process.stdout.isTTY) return writeBytes(data);
  const text = textOf(data) ?? new TextDecoder().decode(data);
  return printText(`${text.replace(/\n$/, "")}\n`);
}

async function request(name: string, text: string, options: RequestOptions): Promise<void> {
  await asSender(options, async (bus, signal) => {
    const [room, data] = await Promise.all([
      openRoom(bus, name, signal, options),
      text === "-" ? wholeOf(Bun.stdin.stream(), "stdin") : text,
    ]);
    const answer = await room.request(checkNotEmpty(data, text === "-" ? "stdin" : "TEXT"), {
      timeoutMs: options.timeout,
      signal,
    });
    await (options.json ? printJson(messageFields(answer)) : printData(answer.data));
  });
}

/** The command `request ROOM TEXT`, which prints the first answer. */
export function requestCommand(): CliCommand {
  const command = new CliCommand("request", {
    summary: "send a request to a room, and print the first answer, byte for byte",
    example: 'unibus request room.team "2 + 2"',
  });
  return sendingCommand(peerCommand(command))
    .argument("<room>", roomText)
    .argument("<text>", "the request; -: all of stdin")
    .option(
      "--timeout <ms>",
      "wait this long for the answer, in milliseconds",
      countArgument(1, answerMs.most),
      answerMs.usual,
    )
    .option("--json", "print the answer as JSON, as history does")
    .action(request);
}
