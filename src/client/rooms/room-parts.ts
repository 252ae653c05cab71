import type { Room } from "./room.ts";
import type { RoomReader } from "./room-reader.ts";
import type { Settling } from "./settling.ts";

/** The parts of a room that `Bus` drives. Applications never see them. */
export interface RoomParts {
  readonly reader: RoomReader;
  /** What an owner's client does by itself. */
  readonly settling: Settling;
}

const parts = new WeakMap<Room, RoomParts>();

/** Registers the parts of a room: its constructor does. */
export function keepParts(room: Room, own: RoomParts): void {
  parts.set(room, own);
}

/** The parts of a room. */
export function partsOf(room: Room): RoomParts {
  return parts.get(room) as RoomParts;
}
