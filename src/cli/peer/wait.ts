/**
 * The command `wait`: returns the next message of one or more rooms, for programs that handle one message at a time.
 * The next `wait` acknowledges it. What was returned is recorded after it was printed, so that a `wait` that is killed
 * loses nothing: the next one returns that message.
 */
import { InvalidArgumentError } from "commander";
import type { Bus, Room } from "../../client/index.ts";
import { UnibusError } from "../../wire/errors.ts";
import { devicePattern } from "../../wire/names.ts";
import { CliCommand } from "../cli-command.ts";
import { countArgument } from "../numbers.ts";
import { flushOut, printJson, printLine, printNote } from "../print.ts";
import { MessageLines, messageFields } from "./message-lines.ts";
import { NextMessage, type Waited } from "./next-message.ts";
import { approveOption, openRoom, type RoomChoices } from "./open-room.ts";
import { asReader, messageOf, type PeerOptions, peerCommand, stateFolder } from "./peer.ts";
import { WaitRecord } from "./wait-record.ts";

/** The longest time to wait, in seconds. */
const timeoutMax = 86_400;

interface WaitOptions extends PeerOptions, RoomChoices {
  readonly timeout?: number;
  readonly device: string;
  readonly new?: boolean;
  readonly again?: boolean;
}

function deviceArgument(text: string): string {
  if (new RegExp(devicePattern).test(text)) return text;
  throw new InvalidArgumentError("Write 1 to 16 characters: a to z, and digits.");
}

/** The rooms to wait for: the named ones, or all that this peer has accepted. Errors: not_found if there are none. */
async function roomsOf(bus: Bus, names: readonly string[], options: WaitOptions, signal: AbortSignal): Promise<Room[]> {
  if (names.length > 0) return Promise.all(names.map((name) => openRoom(bus, name, signal, options)));
  const accepted = (await bus.rooms(signal)).filter((room) => room.accepted);
  const opened = await Promise.all(
    accepted.map(({ id, subject }) =>
      openRoom(bus, id, signal, options).catch((error: unknown) => {
        printNote(`warning: not waiting for ${subject}: ${messageOf(error)}`);
        return null;
      }),
    ),
  );
  const rooms = opened.filter((room) => room !== null);
  if (rooms.length > 0) return rooms;
  throw new UnibusError("not_found", "you have accepted no room yet (see unibus rooms, then unibus room accept ROOM)");
}

/** Puts rooms in turn: those after the one whose message was returned last come first. */
function inTurn(rooms: readonly Room[], last: string | null): Room[] {
  const ordered = [...new Set(rooms)].sort((a, b) => (a.id < b.id ? -1 : 1));
  const from = ordered.findIndex(({ id }) => id > (last ?? ""));
  return from <= 0 ? ordered : [...ordered.slice(from), ...ordered.slice(0, from)];
}

function timedOut(names: readonly string[], timeout: number): UnibusError {
  const where = names.length === 0 ? "" : ` in ${names.join(", ")}`;
  const hint = "wait again, or longer: --timeout SECONDS";
  return new UnibusError("timeout", `no message came${where} within ${timeout} s (${hint})`);
}

/** Finds the message to return. Errors: timeout. */
async function found(
  bus: Bus,
  record: WaitRecord,
  names: readonly string[],
  options: WaitOptions,
  signal: AbortSignal,
): Promise<Waited> {
  const { timeout } = options;
  const over = timeout === undefined ? signal : AbortSignal.any([signal, AbortSignal.timeout(timeout * 1_000)]);
  const rooms = inTurn(await roomsOf(bus, names, options, signal), record.last);
  const onEnd = (room: Room, error: unknown) => {
    if (names.length > 0) throw error;
    printNote(`warning: no longer waiting for ${room.subject}: ${messageOf(error)}`);
  };
  const next = new NextMessage({ bus, record, rooms, startsNow: options.new === true, onEnd });
  const { returned } = record;
  const again = options.again && returned !== null ? await next.again(returned, signal) : null;
  if (again !== null) return again;
  record.acknowledge();
  const stored = await next.stored(signal);
  if (stored !== null) return stored;
  record.save();
  if (timeout === 0) throw timedOut(names, timeout);
  try {
    return await next.live(over);
  } catch (error) {
    // Another error than the reason may come of the time that is over.
    if (timeout !== undefined && over.aborted && !signal.aborted) throw timedOut(names, timeout);
    throw error;
  }
}

/** Prepares the output of a message. */
function printer({ room, message }: Waited, { json }: WaitOptions): () => Promise<void> {
  const { id: room_id, subject } = room;
  const fields = { room: subject, room_id, ...messageFields(message) };
  const line = new MessageLines(room).lineOf(message);
  return () => (json ? printJson(fields) : printLine(`${subject}  ${message.id}  `, ...line));
}

async function wait(names: readonly string[], options: WaitOptions): Promise<void> {
  using closing = new DisposableStack();
  let finish = async (): Promise<void> => undefined;
  await asReader(options, async (bus, signal) => {
    const record = closing.use(new WaitRecord(`${stateFolder(bus.identity.endpoint)}/waits`, options.device));
    const waited = await found(bus, record, names, options, signal);
    const print = printer(waited, options);
    finish = async () => {
      await print();
      await flushOut();
      record.returns(waited.room.id, waited.place, `${waited.message.from}.${waited.message.id}`);
      record.save();
    };
  });
  // Last of all, so that a message counts as returned only if it was printed and the command succeeded.
  await finish();
}

const more = `
The next wait acknowledges the message. A program that was stopped before it dealt with the last message starts with
--again, which returns that message once more. The position is kept by this computer for each --device, in the order of
each room's history; a room that keeps no messages is waited for live. Rooms take turns. Waiting for a new message in a
room that you name accepts it; finding a stored one, or --timeout 0, does not. An edit or a reaction is a message, too:
look at its kind. Your own messages and receipts are not returned. If no message comes in time, the exit code is 1, and
with --json the code is "timeout".`;

/** The command `wait`, which takes any number of rooms. */
export function waitCommand(): CliCommand {
  return peerCommand(
    new CliCommand("wait", {
      summary: "wait for the next message, print it with its room and id, and end; for programs",
      example: "unibus wait room.team --timeout 60 --json",
    }),
  )
    .argument("[room...]", "the rooms, each by its subject, id or link (default: all that you accepted)")
    .option(
      "--timeout <s>",
      "give up after this many seconds; 0: only look (default: wait for ever)",
      countArgument(0, timeoutMax),
    )
    .option("--device <name>", "which position to use and move on, [a-z0-9]{1,16}", deviceArgument, "cli")
    .option("--new", "begin with new messages in a room where the device has no position (default: with the oldest)")
    .option("--again", "return the last message once more if it was not acknowledged")
    .addOption(approveOption())
    .addHelpText("after", more)
    .option("--json", "print one JSON object, as history does, with room and room_id")
    .action(wait);
}
