/** Which of one's rooms are settled, and when: those that this peer owns, and made or accepted. Source: spec 3, 9. */
import type { Room } from "./room.ts";
import { pause } from "./wait.ts";

/** How long the end waits for rooms that are being settled, in milliseconds. */
const graceMs = 5_000;

/** A room in the list of one's rooms, as far as it matters here. */
interface ListedRoom {
  readonly id: string;
  readonly role: "owner" | "member";
  readonly rekeyPending: boolean;
  /** Absent where the bus knows no acceptance. */
  readonly accepted?: boolean;
}

interface SettlementsParts {
  readonly open: (roomId: string) => Promise<Room>;
  /** Reads the list of one's rooms, and hands it to `listed`. */
  readonly list: () => Promise<unknown>;
  readonly onTrouble: (error: unknown) => void;
}

/** The settlements of one bus. */
export class Settlements {
  /** Rooms that this peer owns, and made or accepted, as far as they were listed. */
  readonly #owned = new Set<string>();
  readonly #running = new Set<Promise<void>>();

  constructor(private readonly parts: SettlementsParts) {}

  /** Takes the list of one's rooms, and gives those that wait for an owner. */
  listed(rooms: readonly ListedRoom[]): string[] {
    this.#owned.clear();
    for (const { id, role, accepted } of rooms) if (role === "owner" && accepted !== false) this.#owned.add(id);
    return rooms.filter(({ id, rekeyPending }) => rekeyPending && this.#owned.has(id)).map(({ id }) => id);
  }

  /** Settles a room by its id: one that was not accepted causes no work but the reading of one list. */
  async settle(roomId: string): Promise<void> {
    try {
      if (await this.isMine(roomId)) await this.settleRoom(await this.parts.open(roomId));
    } catch (error) {
      this.parts.onTrouble(error);
    }
  }

  /** Whether this peer owns a room, and made or accepted it. Errors: those of the list. */
  async isMine(roomId: string): Promise<boolean> {
    if (!this.#owned.has(roomId)) await this.parts.list();
    return this.#owned.has(roomId);
  }

  /** Settles a room that is open. It never fails. */
  async settleRoom(room: Room): Promise<void> {
    const running: Promise<void> = room.settling.settleSoon().finally(() => this.#running.delete(running));
    this.#running.add(running);
    await running;
  }

  /** Resolves when nothing is being settled, or after a while: a change that is half made would be made again. */
  async ended(): Promise<void> {
    if (this.#running.size > 0) await Promise.race([Promise.all(this.#running), pause(graceMs, undefined)]);
  }
}
