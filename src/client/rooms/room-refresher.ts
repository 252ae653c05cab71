import type { UnibusError } from "../../wire/errors.ts";
import { endsRoom } from "../transport/arrivals.ts";
import type { Room } from "./room.ts";

/** How many rooms are read at once after an outage. */
const refreshBatch = 8;

interface RoomRefresherDeps {
  /** The open rooms, and those that are being opened. */
  readonly rooms: ReadonlyMap<string, Promise<Room>>;
  /** Aborts when the client closes. */
  readonly signal: AbortSignal;
  /** Called for each room after a read of all of them. */
  readonly onRead: (room: Room) => void;
  /** Called for a room that this peer cannot read any more. */
  readonly onEnd: (room: Room, error: UnibusError) => void;
  readonly onTrouble: (error: unknown) => void;
}

/** Reads rooms again when they may have changed. */
export class RoomRefresher {
  constructor(private readonly deps: RoomRefresherDeps) {}

  /** Reads one room again. Errors are reported. */
  async refresh(room: Room): Promise<void> {
    const { signal, onEnd, onTrouble } = this.deps;
    try {
      await room.refresh(signal);
    } catch (error) {
      if (signal.aborted) return;
      if (endsRoom(error)) onEnd(room, error);
      else onTrouble(error);
    }
  }

  /** Reads all rooms again, some at a time: changes during an outage came without a notice. */
  async all(): Promise<void> {
    const found = await Promise.allSettled(this.deps.rooms.values());
    const rooms = found.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    for (let at = 0; at < rooms.length && !this.deps.signal.aborted; at += refreshBatch) {
      const batch = rooms.slice(at, at + refreshBatch);
      await Promise.all(batch.map((room) => this.refresh(room)));
      for (const room of batch) this.deps.onRead(room);
    }
  }
}
