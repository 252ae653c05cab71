import type { Bus, Room, StoredBlob } from "../../client/index.ts";
import { UnibusError } from "../../wire/errors.ts";
import { isUlid } from "../../wire/names.ts";
import { CliCommand } from "../cli-command.ts";
import { printDone, printJson, printLine, writeBytes } from "../print.ts";
import { fetchBlob, putFile, writeWhole } from "./blob-file.ts";
import { parseRefWord, refWord } from "./blob-ref.ts";
import { sizeText } from "./message-lines.ts";
import { approveOption, openRoom, type RoomChoices, roomText, sendingCommand } from "./open-room.ts";
import { asReader, asSender, type PeerOptions, peerCommand } from "./peer.ts";
import { messageById } from "./since.ts";

async function put(name: string, file: string, options: PeerOptions & RoomChoices): Promise<void> {
  await asSender(options, async (bus, signal) => {
    const named = await putFile(await openRoom(bus, name, signal, options), file, signal);
    const ref = refWord(named);
    await (options.json ? printJson({ ref, size: named.blob.sz }) : printLine(ref));
  });
}

/** Resolves a reference on the command line: a blob reference, or the id of a message with an attachment. */
async function namedBy(bus: Bus, room: Room, ref: string, signal: AbortSignal): Promise<StoredBlob> {
  if (isUlid(ref)) {
    const { blob, epoch, header } = await messageById(bus, room, ref, signal);
    if (header.parts !== undefined) {
      throw new UnibusError("invalid", `the file of message ${ref} is in parts (use unibus file get)`);
    }
    if (blob !== null) return { blob, epoch };
    throw new UnibusError("not_found", `message ${ref} has no file (name another)`);
  }
  const named = parseRefWord(ref);
  if (named !== null) return named;
  throw new UnibusError(
    "invalid",
    "not a file reference (use what blob put printed, or the id of a message with a file)",
  );
}

async function get(
  name: string,
  ref: string,
  options: PeerOptions & RoomChoices & { readonly out: string },
): Promise<void> {
  await asReader(options, async (bus, signal) => {
    const room = await openRoom(bus, name, signal, options);
    const content = await fetchBlob(room, await namedBy(bus, room, ref, signal), signal);
    if (options.out === "-") return writeBytes(content);
    await writeWhole(options.out, content);
    const note = `${sizeText(content.length)} written to ${options.out}`;
    await printDone(note, { out: options.out, size: content.length }, options);
  });
}

/** The commands `blob put|get`. */
export function blobCommand(): CliCommand {
  const example = "unibus blob put room.team report.pdf";
  const command = new CliCommand("blob", {
    summary: "store and fetch files of a room, encrypted with its key",
    example,
  });
  const putSummary = "store a file, and print the reference that opens it (to send a file to the room: file send)";
  sendingCommand(peerCommand(command.sub("put", { summary: putSummary, example })))
    .argument("<room>", `${roomText}; the room must encrypt`)
    .argument("<file>", "what to store, up to 16 MiB; -: stdin")
    .option("--json", "print JSON")
    .action(put);
  peerCommand(
    command.sub("get", {
      summary: "fetch a file of a room and decrypt it",
      example: "unibus blob get room.team 01JDZ3K5Q8Y7W6V5T4S3R2Q1P0 --out report.pdf",
    }),
  )
    .argument("<room>", roomText)
    .argument("<ref>", "what blob put printed, or the id of the message with the file")
    .addOption(approveOption())
    .requiredOption("--out <file>", "where to write it, also over an existing file; -: stdout")
    .option("--json", "print JSON, unless the file goes to stdout")
    .action(get);
  return command;
}
