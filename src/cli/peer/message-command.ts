/** What the commands about one stored message have in common: edit, delete, react. */
import type { Bus, Message, Room } from "../../client/index.ts";
import { UnibusError } from "../../wire/errors.ts";
import type { CliCommand } from "../cli-command.ts";
import { openRoom, type RoomChoices, roomText, sendingCommand } from "./open-room.ts";
import { asSender, nameText, type PeerOptions, peerCommand } from "./peer.ts";
import { idArgument, messageById } from "./since.ts";
import { checkKeeps } from "./stored-message.ts";

/** The options of a command about a message. */
export type MessageOptions = PeerOptions & RoomChoices;

/** What a command about a message works with. */
export interface OnMessage {
  readonly bus: Bus;
  readonly room: Room;
  readonly message: Message;
  readonly signal: AbortSignal;
}

/** Adds the arguments ROOM and MESSAGE_ID, and the options for sending, to a command. */
export function messageCommand(command: CliCommand): CliCommand {
  return sendingCommand(peerCommand(command))
    .argument("<room>", roomText)
    .argument("<message_id>", "its id, which send prints, and history and tail with --ids", idArgument);
}

/**
 * Opens a room, finds one of its messages, and runs the work. `what` is the command's verb.
 * Errors: conflict in a room that keeps no messages; not_found; those of the work.
 */
export async function onMessage(
  [name, id]: readonly [room: string, id: string],
  options: MessageOptions,
  what: string,
  work: (on: OnMessage) => Promise<void>,
): Promise<void> {
  await asSender(options, async (bus, signal) => {
    const room = await openRoom(bus, name, signal, options);
    checkKeeps(room, what);
    await work({ bus, room, message: await messageById(bus, room, id, signal), signal });
  });
}

/** Whether this peer is an owner of a room. */
export function isOwner(bus: Bus, room: Room): boolean {
  return room.members.some(({ endpoint, role }) => endpoint === bus.identity.endpoint && role === "owner");
}

/** Refuses a message of another member. Errors: forbidden, with the fix. */
export function checkOwn({ bus, message }: OnMessage, fix: string): void {
  if (message.from === bus.identity.endpoint) return;
  const sender = nameText({ handle: message.handle, endpoint: message.from });
  throw new UnibusError("forbidden", `message ${message.id} was sent by ${sender} (${fix})`);
}

/** Refuses a member who is not an owner. `what` completes "cannot". Errors: forbidden, with the owners' handles. */
export function checkOwner(bus: Bus, room: Room, what: string): void {
  if (isOwner(bus, room)) return;
  const owners = room.members.filter(({ role }) => role === "owner").map(({ handle }) => handle || "?");
  const fix = owners.length === 0 ? "ask an admin" : `ask an owner: ${owners.join(", ")}`;
  throw new UnibusError("forbidden", `you are not an owner of ${room.subject} and cannot ${what} (${fix})`);
}
