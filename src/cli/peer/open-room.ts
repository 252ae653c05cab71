/** How commands name and open a room, and the options by which a person decides about it. */
import { Option } from "commander";
import type { Bus, BusEvents, Room } from "../../client/index.ts";
import type { CliCommand } from "../cli-command.ts";
import { printNote } from "../print.ts";
import { findingText } from "./finding-text.ts";

/** A person's decisions about a room on the command line. */
export interface RoomChoices {
  /** Whether to send although an owner signed a later epoch than the bus shows. */
  readonly sendAnyway?: boolean | undefined;
  /** Whether to accept users and owners whose name is, or looks like, that of another user. */
  readonly approve?: boolean | undefined;
}

/** The help text for an argument that names a room. */
export const roomText = "the room: its subject, its id, or its link (which verifies it)";

/** Creates the option `--approve`, for commands that take handles or open a room. */
export function approveOption(): Option {
  return new Option(
    "--approve",
    "accept users and owners whose handle is, or looks like, one that you know from another user",
  );
}

/** Adds the options for sending to a room to a command. */
export function sendingCommand(command: CliCommand): CliCommand {
  return command
    .addOption(approveOption())
    .option("--send-anyway", "send even if an owner signed a newer key than the server shows");
}

/** How many such notes a command prints of a room. */
const notesMax = 20;

/** The rooms that this command opened, by id, to look up names for rooms and members. */
const openRooms = new Map<string, Room>();

/**
 * Opens a room by its id, subject or link. Prints a note if its owners have changed since this peer first saw it.
 * Errors: those of `bus.room`; forbidden, unless approved, if an owner's name could be mistaken for another user's.
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

/** Opens a room without refusing it: an owner whose name could be mistaken for another user's is only reported. */
export async function inspectRoom(bus: Bus, name: string, signal: AbortSignal): Promise<Room> {
  const room = await opened(bus, name, signal);
  if (room.ownerConflicts.length > 0) printNote(`warning: ${room.ownerConflictError.message}`);
  return room;
}

async function opened(bus: Bus, name: string, signal: AbortSignal): Promise<Room> {
  const room = await bus.room(name, signal);
  if (!openRooms.has(room.id)) noteFindings(room);
  openRooms.set(room.id, room);
  // Both people of a direct room are its owners, and the second became one after it was created.
  if (room.state.ownersChanged && room.direct === null) {
    printNote(`note: ${room.subject} has other owners than when you first saw it (see unibus room members)`);
  }
  return room;
}

/** Prints what the messages of a room show to be missing, each thing once. */
function noteFindings(room: Room): void {
  const printed = new Set<string>();
  room.on("integrity", ({ findings }) => {
    for (const finding of findings) {
      const { what, chain, first, saidBy } = finding;
      const key = [what, chain, first, saidBy].join();
      if (printed.has(key) || printed.size >= notesMax) continue;
      printed.add(key);
      printNote(`warning: ${room.subject}: ${findingText(room, finding)} (see unibus history --verify)`);
    }
  });
}

/** The note about members who left but still have the key. */
export function pendingText({ roomId, subject, left }: BusEvents["rekeyPending"]): string {
  const members = openRooms.get(roomId)?.members ?? [];
  const names = left.map((one) => members.find(({ endpoint }) => endpoint === one)?.handle ?? one).join(", ");
  return `${names} left ${subject} and still has its key, until an owner's client replaces it (ask an owner to connect)`;
}

/** Returns a room that this command opened, by its id. */
export function openedRoom(roomId: string | null): Room | undefined {
  return openRooms.get(roomId ?? "");
}
