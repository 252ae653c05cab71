/** How commands name and open a room, and what a person decides about it on the command line. */
import { type Command, Option } from "commander";
import type { Bus, BusEvents, Room } from "../client/index.ts";
import { printNote } from "./print.ts";

/** What a person decided about a room on the command line. */
export interface RoomChoices {
  /** Whether to send although an owner signed a later epoch than the bus shows. */
  readonly sendAnyway?: boolean | undefined;
  /** Whether to accept people and owners whose name is that of somebody else, or looks like it. */
  readonly approve?: boolean | undefined;
}

/** What the help says of an argument that names a room. */
export const roomText = "the room: its subject, its id, or its link (which verifies it)";

/** Gives a command `--approve`, for those that name people by handle or open a room. */
export function approveOption(): Option {
  return new Option("--approve", "accept people and owners whose handle was, or looks like, that of another user");
}

/** Gives a command that sends to a room the options by which a person decides about it. */
export function sendingCommand(command: Command): Command {
  return command
    .addOption(approveOption())
    .option("--send-anyway", "send although an owner signed a newer key than the bus shows");
}

/** The rooms that this command opened, by id: to name rooms and people as they are known. */
const openRooms = new Map<string, Room>();

/**
 * A room by its id, its subject or its link. It reports when others own it than this peer saw at first.
 * Errors: those of `bus.room`; forbidden for a room with an owner who may be taken for somebody else, unless approved.
 */
export async function openRoom(bus: Bus, name: string, signal: AbortSignal, choices: RoomChoices = {}): Promise<Room> {
  const room = await opened(bus, name, signal);
  if (choices.sendAnyway) room.sendAnyway();
  if (room.ownerConflicts.length > 0) {
    if (!choices.approve) throw room.ownerConflictError;
    await room.approveOwners();
    printNote(`the owners of ${room.subject} are approved`);
  }
  return room;
}

/** A room to be looked at: an owner who may be taken for somebody else is reported, and the room is not refused. */
export async function inspectRoom(bus: Bus, name: string, signal: AbortSignal): Promise<Room> {
  const room = await opened(bus, name, signal);
  if (room.ownerConflicts.length > 0) printNote(`warning: ${room.ownerConflictError.message}`);
  return room;
}

async function opened(bus: Bus, name: string, signal: AbortSignal): Promise<Room> {
  const room = await bus.room(name, signal);
  openRooms.set(room.id, room);
  if (room.state.ownersChanged) {
    printNote(`note: ${room.subject} has other owners than when you saw it first (see unibus room members)`);
  }
  return room;
}

/** A text for members who left and still have the key. */
export function pendingText({ roomId, subject, left }: BusEvents["rekeyPending"]): string {
  const members = openRooms.get(roomId)?.members ?? [];
  const names = left.map((one) => members.find(({ endpoint }) => endpoint === one)?.handle ?? one).join(", ");
  return `${names} left ${subject} and still has its key, until an owner's client replaces it (ask an owner to connect)`;
}

/** A room that this command opened, by its id. */
export function openedRoom(roomId: string | null): Room | undefined {
  return openRooms.get(roomId ?? "");
}
