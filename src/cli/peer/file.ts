import type { Bus, FileProgress, ReceivedFile } from "../../client/index.ts";
import { hasCode, UnibusError } from "../../wire/errors.ts";
import { CliCommand } from "../cli-command.ts";
import { printJson, printLine, printNote, writeBytes } from "../print.ts";
import { savedName } from "./file-name.ts";
import { sizeText } from "./message-lines.ts";
import { sendNamedFile, transferProgress } from "./named-file.ts";
import { approveOption, openRoom, type RoomChoices, roomText, sendingCommand } from "./open-room.ts";
import { asReader, asSender, type PeerOptions, peerCommand } from "./peer.ts";
import { printSent } from "./send.ts";
import { idArgument, messageById } from "./since.ts";

interface SendFileOptions extends PeerOptions, RoomChoices {
  readonly name?: string;
  readonly type?: string;
  readonly caption?: string;
  readonly replyTo?: string;
}

async function send(name: string, path: string, options: SendFileOptions): Promise<void> {
  const work = async (bus: Bus, signal: AbortSignal): Promise<void> => {
    const room = await openRoom(bus, name, signal, options);
    const { name: fileName, type: mediaType, caption, replyTo } = options;
    const sent = await sendNamedFile(room, path, { name: fileName, mediaType, caption, replyTo, signal });
    await printSent(sent, options);
  };
  await asSender(options, work, { cleansUp: true });
}

interface GetFileOptions extends PeerOptions, RoomChoices {
  readonly out?: string;
  readonly force?: boolean;
}

/** Writes a file to stdout as it arrives. */
async function pipe(file: ReceivedFile, signal: AbortSignal): Promise<void> {
  for await (const chunk of file.chunks({ signal })) await writeBytes(chunk);
}

async function save(
  file: ReceivedFile,
  path: string,
  { force, signal }: { force?: boolean | undefined; signal: AbortSignal },
) {
  using progress = transferProgress(`fetching ${path}:`, file.size);
  let kept = 0;
  try {
    const onProgress = ({ done }: FileProgress): void => {
      kept = done;
      progress.report(done);
    };
    await file.save(path, { overwrite: force, signal, onProgress });
  } catch (error) {
    if (hasCode(error, "conflict"))
      throw new UnibusError("conflict", `${path} exists (name another with --out, or add --force)`);
    if (kept > 0) printNote(`${sizeText(kept)} of ${sizeText(file.size)} are kept: the same command continues`);
    throw error;
  }
}

async function get(name: string, id: string, options: GetFileOptions): Promise<void> {
  const work = async (bus: Bus, signal: AbortSignal): Promise<void> => {
    const room = await openRoom(bus, name, signal, options);
    const file = (await messageById(bus, room, id, signal)).file();
    if (file === null) throw new UnibusError("not_found", `message ${id} has no file (name another)`);
    if (options.out === "-") return pipe(file, signal);
    const path = options.out ?? savedName(file.name, id);
    await save(file, path, { force: options.force, signal });
    const { name: file_name, mediaType: media_type, size } = file;
    await (options.json ? printJson({ file: path, size, file_name, media_type }) : printLine(path));
  };
  await asReader(options, work, { cleansUp: true });
}

/** The commands `file send|get`. */
export function fileCommand(): CliCommand {
  const example = 'unibus file send room.team report.pdf --caption "the report"';
  const command = new CliCommand("file", { summary: "send files to a room, and fetch them", example });
  const sendSummary = "send a file to a room, encrypted, and print the message's id once the server has it";
  sendingCommand(peerCommand(command.sub("send", { summary: sendSummary, example })))
    .argument("<room>", `${roomText}; the room must encrypt`)
    .argument("<file>", "what to send; -: stdin")
    .option("--name <name>", "the name that the members see (default: that of the file)")
    .option("--type <type>", "the media type, as in image/png (default: by the name)")
    .option("--caption <text>", "a text beside the file")
    .option("--reply-to <id>", "answer a message", idArgument)
    .option("--json", "print JSON")
    .action(send);
  peerCommand(
    command.sub("get", {
      summary: "fetch the file of a message, decrypt it, and print where it is; continues after an interruption",
      example: "unibus file get room.team 01JDZ3K5Q8Y7W6V5T4S3R2Q1P0 --out report.pdf",
    }),
  )
    .argument("<room>", roomText)
    .argument("<message>", "the id of the message with the file", idArgument)
    .addOption(approveOption())
    .option("--out <file>", "where to write it; -: stdout (default: the sender's name for it, here)")
    .option("--force", "replace an existing file")
    .option("--json", "print JSON")
    .action(get);
  return command;
}
