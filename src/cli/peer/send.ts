import { InvalidArgumentError, Option } from "commander";
import type { Bus, ContentKind, Room, SayOptions, Sent } from "../../client/index.ts";
import { waitFor } from "../../client/transport/wait.ts";
import { hopsMax } from "../../wire/envelope.ts";
import { hasCode } from "../../wire/errors.ts";
import { CliCommand } from "../cli-command.ts";
import { checkNotEmpty, linesOf, openNamed, wholeOf } from "../input.ts";
import { countArgument } from "../numbers.ts";
import { type PrintOptions, printJson, printLine, printNote } from "../print.ts";
import { textOf } from "./message-lines.ts";
import { sendNamedFile } from "./named-file.ts";
import { openRoom, type RoomChoices, roomText, sendingCommand } from "./open-room.ts";
import { asSender, type PeerOptions, peerCommand } from "./peer.ts";
import { idArgument, messageById } from "./since.ts";

/** How many messages are in flight at once. */
const inFlightMax = 256;

interface SendOptions extends PeerOptions, RoomChoices {
  readonly lines?: boolean;
  readonly file?: string;
  readonly attach?: string;
  readonly replyTo?: string;
  readonly thread?: string;
  readonly hops?: number;
}

/** The message from the command line. Errors: a usage error if it is empty. */
async function dataOf(text: string | undefined, { file, attach }: SendOptions): Promise<Uint8Array | string> {
  if (text !== undefined && text !== "-") return checkNotEmpty(text, "TEXT");
  if (file !== undefined) return checkNotEmpty(await wholeOf((await openNamed(file)).stream, file), file);
  if (text === undefined && attach !== undefined) return "";
  if (process.stdin.isTTY) printNote("Type the message, then press Ctrl-D:");
  return checkNotEmpty(await wholeOf(Bun.stdin.stream(), "stdin"), "stdin");
}

/** Input that is UTF-8 is a text. */
const kindOf = (data: Uint8Array | string): ContentKind =>
  typeof data === "string" || textOf(data) !== null ? "text" : "data";

/** A sent message as JSON: `{id, seq?, rekey_pending?}`. */
export const sentFields = ({ id, seq, rekeyPending }: Sent): object => ({
  ...{ id, ...(seq === null ? {} : { seq }), ...(rekeyPending ? { rekey_pending: true } : {}) },
});

/** Prints a sent message: its id, or JSON. */
export const printSent = (sent: Sent, { json }: PrintOptions): Promise<void> =>
  json ? printJson(sentFields(sent)) : printLine(sent.id);

/** Sends messages in order, several in flight at once. */
class Pipeline {
  readonly #flying = new Set<Promise<void>>();
  #fault: unknown = null;
  /** How many have been acked. */
  sent = 0;

  constructor(private readonly send: (data: Uint8Array) => Promise<void>) {}

  /** Sends the next message as soon as there is a free slot. Errors: those of an earlier message. */
  async push(data: Uint8Array): Promise<void> {
    // The first message opens the connection and fetches the key for all others.
    const atOnce = this.sent === 0 ? 1 : inFlightMax;
    while (this.#flying.size >= atOnce) await Promise.race(this.#flying);
    this.#throwFault();
    const flight: Promise<void> = this.send(data)
      .then(
        () => {
          this.sent += 1;
        },
        (error: unknown) => {
          this.#fault ??= error;
        },
      )
      .finally(() => this.#flying.delete(flight));
    this.#flying.add(flight);
  }

  /** Resolves when all messages have been acked. Errors: those of any message. */
  async end(): Promise<void> {
    await this.#settled();
    this.#throwFault();
  }

  async #settled(): Promise<void> {
    await Promise.all(this.#flying);
  }

  #throwFault(): void {
    if (this.#fault !== null) throw this.#fault;
  }
}

async function sendLines(room: Room, options: SendOptions, place: SayOptions): Promise<void> {
  const pipeline = new Pipeline(async (data) => {
    const sent = await room.send(data, { ...place, kind: kindOf(data) });
    if (options.json) await printSent(sent, options);
  });
  const pump = async (): Promise<void> => {
    for await (const line of linesOf(Bun.stdin.stream())) await pipeline.push(line);
    await pipeline.end();
  };
  try {
    await waitFor(pump(), place.signal);
  } finally {
    printNote(`${pipeline.sent} sent`);
  }
}

/** The thread of a message. A reply belongs to the thread of the message it answers, or starts one. */
async function placeOf(bus: Bus, room: Room, { replyTo, thread }: SendOptions, signal: AbortSignal) {
  if (replyTo === undefined || thread !== undefined) return { replyTo, thread };
  const answered = await messageById(bus, room, replyTo, signal).catch((error: unknown) => {
    // Without persistence the thread of the answered message is unknown.
    if (hasCode(error, "not_found")) return null;
    throw error;
  });
  return { replyTo, thread: answered?.thread ?? replyTo };
}

/** The text beside a file. Errors: a usage error for bytes that are not text. */
function captionOf(data: Uint8Array | string): string {
  const text = typeof data === "string" ? data : textOf(data);
  if (text !== null) return text;
  throw new InvalidArgumentError("the text beside the file is not UTF-8 (send it by itself)");
}

async function send(name: string, text: string | undefined, options: SendOptions): Promise<void> {
  const { lines, file, attach } = options;
  if (text !== undefined && (lines || file !== undefined)) {
    throw new InvalidArgumentError("the message is given twice (choose one of TEXT, --lines and --file)");
  }
  const work = async (bus: Bus, signal: AbortSignal): Promise<void> => {
    // Read the message and open the room in parallel.
    const [room, data] = await Promise.all([openRoom(bus, name, signal, options), lines ? "" : dataOf(text, options)]);
    const place = { ...(await placeOf(bus, room, options, signal)), hops: options.hops, signal };
    if (lines) return sendLines(room, options, place);
    const sent =
      attach === undefined
        ? await room.send(data, { ...place, kind: kindOf(data) })
        : await sendNamedFile(room, attach, { ...place, caption: captionOf(data) });
    await printSent(sent, options);
  };
  await asSender(options, work, { cleansUp: attach !== undefined });
}

/** The command `send ROOM`. */
export function sendCommand(): CliCommand {
  const command = new CliCommand("send", {
    summary: "send a message to a room, and print its id once the server has it",
    example: 'unibus send room.team "the tests are green"',
  });
  return sendingCommand(peerCommand(command))
    .argument("<room>", roomText)
    .argument("[text]", "the message; - or nothing: all of stdin")
    .addOption(
      new Option("--lines", "send each line of stdin as a message, in order, including empty lines").conflicts([
        "file",
        "attach",
      ]),
    )
    .option("--file <file>", "send the content of a file")
    .option("--attach <file>", "send a file, with the message as its caption (see file get)")
    .option("--reply-to <id>", "answer a message", idArgument)
    .option("--thread <id>", "the first message of the thread (default: the one that you answer)", idArgument)
    .option(
      "--hops <n>",
      "how many automatic answers led to this message, so that programs do not answer each other for ever (default: 0)",
      countArgument(0, hopsMax),
    )
    .option("--json", "print JSON")
    .action(send);
}
